import contextlib
import io
import json
import re
import tempfile
import unittest
from pathlib import Path

import matplotlib.image
from stpn import reproduction
from support import write_rl_run, write_run


class ReproductionTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name) / "runs"

    def write(self, set_name, model, seed, **run):
        return write_run(self.folder / set_name / model / f"seed{seed}", model, seed=seed, **run)

    def write_rl(self, set_name, model, seed, **run):
        return write_rl_run(self.folder / set_name / model / f"seed{seed}", model, seed=seed,
                                **run)

    def run_main(self, *arguments):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = reproduction.main([str(self.folder), *map(str, arguments)])
        return code, out.getvalue(), err.getvalue()

    def row(self, text, name):
        line, = [line for line in text.splitlines() if line.startswith(f"| {name} ")]
        return [cell.strip() for cell in line.strip("|").split("|")]

    def assert_has_colours(self, path):
        pixels = matplotlib.image.imread(path)[..., :3]
        for colour in reproduction.COLOURS[:2]:
            wanted = matplotlib.colors.to_rgb(colour)
            self.assertGreater((abs(pixels - wanted).max(axis=-1) < 0.01).sum(), 50,
                               (path.name, colour))

    def test_table_has_mean_and_standard_deviation_over_seeds(self):
        for seed, accuracy, energy in ((1, 0.5, 2.0), (2, 0.7, 2.5)):
            self.write("pairs3", "stpn", seed, test_accuracy=accuracy, energy=energy,
                       accuracies=(0.2, 0.99) if seed == 1 else (0.2, 0.3, 0.4, 0.995))
        self.write("pairs3", "lstm", 1, accuracies=(0.2, 0.98), energy=1234.5)
        code, out, err = self.run_main()
        self.assertEqual((code, err), (0, ""))
        # Standard deviations by hand: 14.14 of 50 and 70, 0.354 of 2 and 2.5, 1.41 of 2 and 4.
        self.assertEqual(self.row(out, "STPN"),
                         ["STPN", "2", "1234", "60.00 ± 14.14 %", "3 ± 1", "2.25 ± 0.35",
                          "20.2 ± 3.2", "57"])
        self.assertEqual(self.row(out, "LSTM"),
                         ["LSTM", "1", "1234", "87.65 %", "never", "1234", "11110", "57"])
        self.assertEqual(self.row(out, "no binding")[3], "33.33 %")
        self.assertEqual(self.row(out, "chance")[3], "10.00 %")
        self.assertIn((self.folder / "table.md").read_text(), out)

    def test_says_how_many_seeds_learnt(self):
        self.write("pairs3", "stpn", 1, accuracies=(0.5, 0.99))
        self.write("pairs3", "stpn", 2, accuracies=(0.5, 0.5))
        _, out, _ = self.run_main()
        self.assertEqual(self.row(out, "STPN")[4], "2 (1 of 2)")

    def test_table_of_an_rl_task(self):
        self.write_rl("size13", "stpn", 1, reward=118.0, energy=1.0, rewards=(20, 64.8, 60))
        self.write_rl("size13", "stpn", 2, reward=122.0, energy=1.4, rewards=(20, 60, 90))
        self.write_rl("size13", "lstm", 1, reward=58.46, rewards=(20, 30, 40))
        code, out, err = self.run_main()
        self.assertEqual((code, err), (0, ""))
        # By hand: shares 112.5, 116.5 and 52.96 of 264.8. Half of the best mean, 43.24 %, is 22 %:
        # a reward of 63.8, reached after 12.8 and 19.2 thousand episodes.
        self.assertEqual(self.row(out, "model")[3:6], [
            "reward per episode", "share of the oracle's margin", "thousand episodes to 22%"])
        self.assertEqual(self.row(out, "STPNr"),
                         ["STPNr", "2", "4321", "120.0 ± 2.8", "43.2 ± 1.1 %", "16.0 ± 4.5",
                          "1.20 ± 0.28", "0.300 ± 0.071", "0.123"])
        self.assertEqual(self.row(out, "LSTM"),
                         ["LSTM", "1", "4321", "58.5", "20.0 %", "never", "1.20", "0.300", "0.123"])
        self.assertEqual(self.row(out, "random"), ["random", "", "", "5.5", "", "", "", "", ""])
        self.assertEqual(self.row(out, "oracle")[3], "270.3")

    def test_table_of_an_rl_task_without_an_oracle(self):
        for seed, reward in ((1, 5.0), (2, 6.0)):
            run = Path(self.write_rl("hold", "stpn", seed, reward=reward, rewards=(0.5, 2.0, 6.0)))
            summary = json.loads((run / "summary.json").read_text())
            del summary["metrics"]["reward_share"], summary["baselines"]["oracle_reward"]
            del summary["metrics"]["energy_per_neuron_without_reward"]
            (run / "summary.json").write_text(json.dumps(summary))
            lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
            for line in lines:
                del line["reward_share"]
            (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        code, out, err = self.run_main()
        self.assertEqual((code, err), (0, ""))
        # Half of the best, 5.5, is reached in the third epoch.
        self.assertEqual(self.row(out, "model")[3:6], [
            "reward per episode", "thousand episodes to 2.75", "energy per neuron and step"])
        self.assertEqual(self.row(out, "STPNr")[3:5], ["5.5 ± 0.7", "19.2 ± 0.0"])
        self.assertTrue((self.folder / "hold.png").exists())

    def test_no_model_has_learnt_if_all_act_at_random(self):
        self.write_rl("size13", "stpn", 1, rewards=(5.5, 5.6), reward=5.4)
        _, out, _ = self.run_main()
        self.assertEqual(self.row(out, "model")[5], "thousand episodes to 1%")
        self.assertEqual(self.row(out, "STPNr")[5], "never")

    def test_draws_rl_tasks(self):
        for size, oracle in (("size9", 419.2), ("size13", 2000.0)):
            for model in ("stpn", "lstm"):
                for seed in (1, 2):
                    self.write_rl(size, model, seed, oracle=oracle, energy=0.2 * seed)
        code, _, err = self.run_main()
        self.assertEqual((code, err), (0, ""))
        figures = sorted(self.folder.glob("*.png"))
        self.assertEqual([path.name for path in figures],
                         ["size.png", "size13.png", "size13_energy.png", "size9.png",
                          "size9_energy.png"])
        for path in figures:
            self.assert_has_colours(path)

    def test_figures_show_how_many_seeds_each_model_has(self):
        runs = ["run"]
        for count, over in ((1, "one seed"), (3, "mean and standard deviation over 3 seeds")):
            self.assertEqual(reproduction.seeds_of({"a": count * runs, "b": count * runs}),
                             (over, {"a": "", "b": ""}))
        self.assertEqual(reproduction.seeds_of({"a": 3 * runs, "b": runs}),
                         ("mean and standard deviation over seeds (how many)", {"a": " (3)", "b": " (1)"}))

    def test_energies_below_1_are_plain_numbers(self):
        figure, axes = reproduction.plt.subplots()
        self.addCleanup(reproduction.plt.close, figure)
        axes.plot([0.6, 0.9])
        reproduction.energy_axis(axes.yaxis)
        texts = [label.get_text() for label in axes.get_yticklabels(which="minor")]
        self.assertIn("0.7", texts)

    def test_sets_and_models_come_in_order(self):
        for name in ("pairs16", "pairs4", "other"):
            for model in ("zebra", "lstm", "stpn"):
                self.write(name, model, 1)
        _, out, _ = self.run_main()
        self.assertEqual(re.findall("^## (.*)$", out, re.M), ["other", "pairs4", "pairs16"])
        self.assertEqual(re.findall("^[|] (STPN|LSTM|zebra) ", out, re.M),
                         3 * ["STPN", "LSTM", "zebra"])

    def test_draws_every_set_and_a_figure_over_the_sets_of_one_word(self):
        for name in ("pairs3", "pairs4", "other"):
            for model in ("stpn", "lstm"):
                for seed in (1, 2, 10):
                    self.write(name, model, seed, energy=5 + seed)
        out_folder = self.folder.parent / "new" / "figures"
        code, _, err = self.run_main("-o", out_folder)
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(sorted(path.name for path in out_folder.iterdir()),
                         ["other.png", "other_energy.png", "pairs.png", "pairs3.png",
                          "pairs3_energy.png", "pairs4.png", "pairs4_energy.png", "table.md"])
        for path in out_folder.glob("*.png"):
            self.assert_has_colours(path)

    def test_many_models_have_different_styles(self):
        names = [f"model{i}" for i in range(30)]
        style = reproduction.styles({"set": dict.fromkeys(names)})
        marks = {(each["color"], each["marker"]) for each in style.values()}
        self.assertEqual(len(marks), 30)

    def test_a_run_that_has_not_ended_is_left_out(self):
        self.write("pairs3", "stpn", 1)
        unfinished = Path(self.write("pairs3", "stpn", 2))
        (unfinished / "summary.json").unlink()
        code, out, _ = self.run_main()
        self.assertEqual(code, 0)
        self.assertEqual(self.row(out, "STPN")[1], "1")

    def test_keeps_the_small_files_from_which_the_same_table_comes(self):
        run = Path(self.write("pairs3", "stpn", 1))
        (run / "checkpoint").mkdir()
        (run / "checkpoint" / "last.safetensors").write_text("large")
        results = self.folder.parent / "results"
        _, first, _ = self.run_main("--keep", results)
        self.assertEqual(sorted(str(path.relative_to(results)) for path in results.rglob("*")
                                if path.is_file()),
                         ["pairs3/stpn/seed1/metrics.jsonl", "pairs3/stpn/seed1/summary.json"])
        self.folder = results
        _, again, _ = self.run_main("-o", self.folder.parent / "figures")
        self.assertEqual(first.split("Figures")[0], again.split("Figures")[0])

    def test_takes_ordinary_runs_of_several_seeds(self):
        task = self.folder / "associative_retrieval"  # as `stpn train` makes it
        for seed, accuracy in ((1, 0.5), (2, 0.7)):
            for model in ("stpn", "lstm"):
                write_run(task / model / f"seed{seed}", model, seed=seed, test_accuracy=accuracy)
        self.write("others", "stpn_200", 1)
        (self.folder / "others" / "stpn_200").rename(task / "stpn_200")  # `--out`
        for place in (task, self.folder):
            out_folder = self.folder.parent / "out"
            out, err = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = reproduction.main([str(place), "-o", str(out_folder)])
            self.assertEqual((code, err.getvalue()), (0, ""))
            self.assertIn("## associative_retrieval\n", out.getvalue())
            self.assertEqual(self.row(out.getvalue(), "STPN")[1:4], ["2", "1234", "60.00 ± 14.14 %"])

    def test_a_model_is_named_by_its_folder(self):
        write_run(self.folder / "pairs3" / "wide" / "seed1", "stpn")
        write_run(self.folder / "pairs3" / "stpn" / "seed1", "stpn")
        _, out, _ = self.run_main()
        self.assertEqual(self.row(out, "wide")[1], "1")
        self.assertEqual(self.row(out, "STPN")[1], "1")

    def test_takes_several_folders(self):
        for model in ("stpn", "lstm"):
            self.write("pairs3", model, 1)
        models = sorted((self.folder / "pairs3").iterdir())
        self.folder = models[0]
        code, out, _ = self.run_main(models[1])
        self.assertEqual(code, 0)
        self.assertEqual(self.row(out, "LSTM")[1], "1")
        self.assertEqual(self.row(out, "STPN")[1], "1")
        code, again, err = self.run_main(models[1].parent)  # the first is in it
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(again.split("Figures")[0], out.split("Figures")[0])

    def test_refuses_what_would_count_twice(self):
        self.write("pairs3", "stpn", 1)
        write_run(self.folder / "pairs3" / "stpn" / "again", "stpn", seed=1)
        self.assert_refused("stpn: has several runs of seed 1")
        write_run(self.folder / "copy" / "pairs3" / "stpn" / "seed1", "stpn", seed=1)
        self.assert_refused("both are pairs3/stpn/seed1")

    def assert_refused(self, message):
        code, _, err = self.run_main()
        self.assertEqual(code, 2)
        self.assertRegex(err, message)
        self.assertEqual(len(err.splitlines()), 1, err)

    def test_refuses_what_it_cannot_report(self):
        self.assert_refused("has no run that has ended")
        run = Path(self.write("pairs3", "stpn", 1))
        (run / "summary.json").write_text("{")
        self.assert_refused("seed1/summary.json: not an output of a run")
        (run / "summary.json").write_text('{"baselines": []}')
        self.assert_refused("seed1/summary.json: ")

    def test_refuses_runs_of_two_tasks(self):
        self.write("pairs3", "stpn", 1)
        self.write_rl("pairs3", "lstm", 1)
        self.assert_refused("different tasks")


if __name__ == "__main__":
    unittest.main()
