"""`stpn reproduce`: complete, killed and continued, with a model that fails, and with our experiments."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import unittest.mock

import support

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]

REPRODUCTION = """
[[set]]
name = "pairs2"
models = ["lstm", "stpn"]
seeds = 2

[[set]]
name = "pairs3"
models = ["lstm"]
settings = ["task.pairs=3"]

[budget.full]
settings = ["train.epochs=2"]

[budget.long]
settings = ["train.epochs=40"]
"""
RUNS = ["pairs2/lstm/seed1", "pairs2/lstm/seed2", "pairs2/stpn/seed1", "pairs2/stpn/seed2",
        "pairs3/lstm/seed1"]


def children(pid):
    return [int(word) for word in
            pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def runs(pid):
    """Whether the process has not ended; a zombie has."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def wait_until(true):
    end = time.monotonic() + 60
    while not true():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.01)


class Reproduce(support.ProgramTest):
    def setUp(self):
        super().setUp()
        experiments = self.folder / "experiments" / "toy"
        experiments.mkdir(parents=True)
        (experiments / "lstm.toml").write_text(support.EXPERIMENT)
        (experiments / "stpn.toml").write_text(
            support.EXPERIMENT.replace('"lstm"', '"stpn_recurrent"'))
        (experiments / "reproduce.toml").write_text(REPRODUCTION)
        self.patch(STPN_PYTHON="true")  # most tests need no figures

    def with_figures(self):
        self.patch(STPN_PYTHON=sys.executable, PYTHONPATH=str(CHECKOUT / "python"))

    def patch(self, **variables):
        patch = unittest.mock.patch.dict(os.environ, variables)
        patch.start()
        self.addCleanup(patch.stop)

    def finished(self, out="runs/toy"):
        return sorted(str(path.parent.relative_to(self.folder / out))
                      for path in (self.folder / out).rglob("summary.json"))

    def test_runs_everything_once(self):
        self.with_figures()
        code, out, err = self.run_stpn("reproduce", "toy", "--jobs", 2)
        self.assertEqual(code, 0, err)
        self.assertEqual(self.finished(), RUNS)
        self.assertEqual([line for line in out.splitlines() if line.startswith("##")],
                         ["## pairs2", "## pairs3"])
        self.assertEqual((self.folder / "runs/toy/table.md").read_text(),
                         out[:out.index("\nFigures: ")])
        for figure in ("pairs2.png", "pairs2_energy.png", "pairs3.png", "pairs.png"):
            self.assertGreater((self.folder / "runs/toy" / figure).stat().st_size, 10_000)
        lines = err.splitlines()
        self.assertIn("5 runs, 0 of them finished before; 2 in parallel", lines[0])
        self.assertEqual(sorted(line.split(":")[0] for line in lines[1:]), RUNS)
        self.assertIn("5/5 done, 0:00:00 left", lines[-1])

        before = {path: path.stat().st_mtime_ns for path in self.folder.rglob("seed*/**/*")}
        code, _, err = self.run_stpn("reproduce", "toy")
        self.assertEqual(code, 0, err)
        self.assertIn("5 runs, 5 of them finished before", err)
        self.assertEqual({path: path.stat().st_mtime_ns
                          for path in self.folder.rglob("seed*/**/*")}, before)

    def test_a_run_is_that_of_train(self):
        self.succeed("reproduce", "toy", "--jobs", 2, "--seeds", 1, "--out", "there")
        self.assertEqual(self.finished("there"), [run for run in RUNS if "seed1" in run])
        self.succeed("train", "experiments/toy/lstm.toml", "--set", "task.pairs=3", "--set",
                     "train.epochs=2", "--seed", 1, "--out", "alone", "--quiet")
        self.expect_same_run("there/pairs3/lstm/seed1", "alone")

    def test_children_end_with_it_and_it_can_be_continued(self):
        arguments = ("reproduce", "toy", "--budget", "long", "--seeds", 1, "--jobs", 2)
        first = self.folder / "runs/toy_long/pairs2/lstm/seed1/metrics.jsonl"
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            # A shell makes its background processes ignore SIGINT.
            with self.popen(*arguments, preexec_fn=lambda: signal.signal(
                    signal.SIGINT, signal.SIG_DFL)) as process:
                lines = first.read_text().count("\n") if first.exists() else 0
                wait_until(lambda: first.exists() and first.read_text().count("\n") > lines)
                pids = children(process.pid)
                self.assertIn(len(pids), (1, 2))
                process.send_signal(number)
                self.assertEqual(process.wait(60), -number)
                wait_until(lambda: not any(runs(pid) for pid in pids))
        self.assertLess(len(self.finished("runs/toy_long")), 3)
        self.succeed(*arguments)
        self.assertEqual(len(self.finished("runs/toy_long")), 3)
        self.succeed("train", "experiments/toy/lstm.toml", "--set", "train.epochs=40", "--out",
                     "whole", "--quiet")
        self.expect_same_run("runs/toy_long/pairs2/lstm/seed1", "whole")

    def test_a_run_that_fails_stops_no_other(self):
        self.with_figures()
        toy = self.folder / "experiments" / "toy"
        (toy / "stpn.toml").write_text(support.EXPERIMENT.replace("1e-2", "1e38"))
        code, out, err = self.run_stpn("reproduce", "toy", "--jobs", 2, "--seeds", 1)
        self.assertEqual(code, 1, err)
        self.assertEqual(self.finished(), ["pairs2/lstm/seed1", "pairs3/lstm/seed1"])
        failed, = [line for line in err.splitlines() if line.startswith("pairs2/stpn/seed1: ")]
        for part in ("failed with exit code 1", "loss", "epoch 1"):
            self.assertIn(part, failed)
        last = err.splitlines()[-1]
        self.assertTrue(last.startswith("stpn: 1 of 3 runs failed (pairs2/stpn/seed1)"), last)
        self.assertNotIn("table", last)
        self.assertRegex(out, r"\n- stpn/seed1: diverged: loss is -?nan in epoch 1, batch 2 ")

        (toy / "lstm.toml").write_text((toy / "stpn.toml").read_text())
        code, out, err = self.run_stpn("reproduce", "toy", "--seeds", 1, "--out", "all_fail")
        self.assertEqual((code, out), (1, ""))
        self.assertIn("3 of 3 runs failed", err)

    def test_a_run_on_which_another_process_works_is_left_to_it(self):
        with self.popen("train", "experiments/toy/lstm.toml", "--seed", 1, "--out",
                        "runs/toy/pairs2/lstm/seed1", "--set", "train.epochs=100000") as other:
            try:
                other.stderr.readline()
                code, _, err = self.run_stpn("reproduce", "toy", "--seeds", 1)
                self.assertEqual(code, 1)
                self.assertRegex(err, "pairs2/lstm/seed1: failed with exit code 2: .*another process")
                self.assertEqual(self.finished(), ["pairs2/stpn/seed1", "pairs3/lstm/seed1"])
            finally:
                other.kill()

    def test_the_folder_of_a_run_is_left_alone(self):
        self.succeed("train", "experiments/toy/lstm.toml", "--set", "train.epochs=1", "--out",
                     "runs/pairs2")
        for out in ("runs/pairs2", "runs"):
            with self.subTest(out=out):
                code, printed, err = self.run_stpn("reproduce", "toy", "--out", out)
                self.assertEqual((code, printed), (2, ""))
                self.expect_one_line(err, "runs/pairs2", "is the folder of a run", "--out")

    def test_only_one_process_works_on_a_reproduction(self):
        with self.popen("reproduce", "toy", "--budget", "long") as other:
            try:
                other.stderr.readline()
                code, out, err = self.run_stpn("reproduce", "toy", "--budget", "long")
                self.assertEqual((code, out), (2, ""))
                self.expect_one_line(err, "runs/toy_long", "another process", "--out")
            finally:
                other.kill()

    def test_a_python_that_cannot_make_the_report_is_found_before_anything_runs(self):
        arguments = ("reproduce", "toy", "--seeds", 1)
        self.patch(STPN_PYTHON="/absent/python")
        self.expect_user_error(arguments, "/absent/python", "No such file", "STPN_PYTHON",
                               "--runs-only")
        # The module is there, but not what it needs.
        package = self.folder / "python" / "stpn"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "reproduction.py").write_text("import absent_module\n")
        self.patch(STPN_PYTHON=sys.executable, PYTHONDONTWRITEBYTECODE="1")
        self.expect_user_error(arguments, "No module named 'absent_module'", "STPN_PYTHON")
        self.assertEqual(self.succeed(*arguments, "--runs-only"), "")
        self.assertEqual(len(self.finished()), 3)

    def test_without_ray_it_says_what_to_install(self):
        python = self.write("python", "#!/bin/sh\necho \"No module named 'ray'\" >&2; exit 1\n")
        python.chmod(0o755)
        self.patch(STPN_PYTHON=str(python))
        ray, = re.findall(r'"(ray==[\d.]+)"', (CHECKOUT / "pyproject.toml").read_text())
        self.expect_user_error(("reproduce", "toy", "--runs-only", "--ray", "127.0.0.1:1"),
                               "No module named 'ray'", f"pip install {ray}")
        self.assertEqual(self.finished(), [])

    def test_a_report_that_fails_leaves_the_runs_and_the_message_has_the_command(self):
        python = self.write("python", '#!/bin/sh\n[ "$1" = -c ] || { echo no figures >&2; exit 3; }\n')
        python.chmod(0o755)
        self.patch(STPN_PYTHON=str(python))
        code, out, err = self.run_stpn("reproduce", "toy", "--seeds", 1)
        self.assertEqual((code, out), (1, ""))
        self.assertEqual(len(self.finished()), 3)
        self.assertRegex(err.splitlines()[-1],
                         "failed with exit code 3: no figures; to try again: "
                         f"(PYTHONPATH=\\S+ )?{python} -m stpn.reproduction runs/toy$")

    def test_folders_of_runs_that_cannot_be_resumed_stop_no_other(self):
        self.succeed("reproduce", "toy", "--seeds", 1)
        run = {name: self.folder / "runs/toy" / name for name in
               ("pairs2/lstm/seed1", "pairs2/stpn/seed1", "pairs3/lstm/seed1")}
        lost, damaged, whole = run.values()
        (lost / "checkpoint/last.safetensors").unlink()
        (lost / "summary.json").unlink()
        (damaged / "config.toml").write_text("[unit]\nname = ")
        before = {path: path.read_bytes() for path in self.folder.rglob("*")
                  if path.is_file() and whole not in path.parents}
        (whole / "summary.json").unlink()
        code, _, err = self.run_stpn("reproduce", "toy", "--seeds", 1, "--jobs", 1)
        self.assertEqual(code, 1, err)
        self.assertRegex(err, "pairs2/lstm/seed1: failed with exit code 2: .*last.safetensors is "
                              "missing.*metrics.jsonl .epochs: 2., checkpoint/best.safetensors")
        self.assertRegex(err, "pairs2/stpn/seed1: failed with exit code 2: .*config.toml:2: ")
        self.assertTrue((whole / "summary.json").exists())
        self.assertEqual({path: path.read_bytes() for path in before}, before)
        last = err.splitlines()[-1]
        self.assertIn("2 of 3 runs failed (pairs2/lstm/seed1, pairs2/stpn/seed1)", last)

    def test_the_example_of_the_documentation_runs_as_printed(self):
        text = (CHECKOUT / "docs/formats.md").read_text()
        example = re.search(r"## A reproduction\n.*?```toml\n(.*?)```", text, re.DOTALL)[1]
        self.write("experiments/toy/reproduce.toml", example)
        self.succeed("reproduce", "toy")
        self.assertEqual(self.finished(), [f"pairs4/{model}/seed{seed}"
                                           for model in ("lstm", "stpn") for seed in (1, 2, 3)])
        self.succeed("reproduce", "toy", "--budget", "short")
        self.assertEqual(self.finished("runs/toy_short"), ["pairs4/lstm/seed1", "pairs4/stpn/seed1"])
        self.assertEqual(len(self.metrics("runs/toy_short/pairs4/lstm/seed1")), 50)

    def test_the_checkout_of_the_program_is_found_from_anywhere(self):
        # A checkout with a build folder, and another current folder.
        checkout, elsewhere = self.folder / "checkout", self.folder / "elsewhere"
        (checkout / "build/bin").mkdir(parents=True)
        shutil.copy(support.STPN, checkout / "build/bin/stpn")
        (self.folder / "experiments").rename(checkout / "experiments")
        (checkout / "python").symlink_to(CHECKOUT / "python")
        (checkout / ".venv/bin").mkdir(parents=True)
        python = checkout / ".venv/bin/python"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        elsewhere.mkdir()
        environment = {name: value for name, value in os.environ.items()
                       if name not in ("STPN_PYTHON", "PYTHONPATH")}
        run = subprocess.run([checkout / "build/bin/stpn", "reproduce", "toy", "--seeds", "1"],
                             cwd=elsewhere, env=environment, capture_output=True, text=True)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("## pairs2", run.stdout)
        self.assertTrue((elsewhere / "runs/toy/pairs2.png").exists())
        (checkout / "experiments").rename(self.folder / "moved")
        run = subprocess.run([checkout / "build/bin/stpn", "list", "experiments"], cwd=elsewhere,
                             capture_output=True, text=True)
        self.assertEqual(run.returncode, 2)
        self.expect_one_line(run.stderr, "there is no folder of experiments")

    def test_invalid_input_is_found_before_anything_runs(self):
        self.expect_user_error(("reproduce",), "TASK")
        self.expect_user_error(("reproduce", "toys"), "toys", "reproduce.toml")
        self.expect_user_error(("reproduce", "toy", "--budget", "tiny"), "tiny", "full, long")
        self.expect_user_error(("reproduce", "toy", "--seeds", 0), "--seeds")
        self.expect_user_error(("reproduce", "toy", "--jobs", 0), "--jobs")
        self.write("experiments/toy/reproduce.toml", REPRODUCTION.replace("pairs=3", "pair=3"))
        self.expect_user_error(("reproduce", "toy"), "pair", "pairs")
        self.write("experiments/toy/reproduce.toml", REPRODUCTION.replace('"stpn"', '"stnp"'))
        self.expect_user_error(("reproduce", "toy"), "stnp.toml")

    def test_list_knows_experiments_from_reproductions(self):
        listed = self.succeed("list", "experiments").splitlines()
        self.assertEqual([line.split(":")[0] for line in listed],
                         ["experiments/toy/lstm.toml", "experiments/toy/stpn.toml"])

    def with_committed_experiments(self):
        self.with_figures()
        (self.folder / "experiments").rename(self.folder / "toys")
        (self.folder / "experiments").symlink_to(CHECKOUT / "experiments")

    def test_the_committed_maze_runs(self):
        self.with_committed_experiments()
        code, out, err = self.run_stpn("reproduce", "maze", "--budget", "smoke")
        self.assertEqual(code, 0, err)
        models = {path.stem for path in (CHECKOUT / "experiments/maze").glob("*.toml")}
        self.assertEqual({path.name for path in (self.folder / "runs/maze_smoke/quick").iterdir()},
                         models - {"reproduce", "random", "oracle"})
        self.assertIn("oracle", out)
        self.assertGreater((self.folder / "runs/maze_smoke/quick.png").stat().st_size, 10_000)

    def test_the_committed_familiarity_runs(self):
        self.with_committed_experiments()
        code, out, err = self.run_stpn("reproduce", "familiarity", "--budget", "smoke")
        self.assertEqual(code, 0, err)
        models = {path.stem for path in (CHECKOUT / "experiments/familiarity").glob("*.toml")}
        folder = self.folder / "runs/familiarity_smoke"
        for name, others in (("interval10", {"reproduce"}),
                             ("one_stream", {"reproduce", "stpn_anti", "stpn_gated"})):
            self.assertEqual({path.name for path in (folder / name).iterdir()}, models - others)
            self.assertGreater((folder / f"{name}_generalisation.png").stat().st_size, 10_000)
        self.assertEqual(out.count("Test accuracy in percent, at interval"), 2)

        run = folder / "interval10/lstm/seed1"
        metrics = json.loads((run / "summary.json").read_text())["metrics"]
        out = self.succeed("eval", run)
        rows = {int(line.split()[0]): line.split()[1:] for line in out.splitlines()
                if line.strip()[0].isdigit()}
        self.assertLessEqual({1, 2, 3, 4, 6, 8, 10, 11, 15, 20}, rows.keys())
        for interval, row in rows.items():
            at = f"interval_{interval}"
            self.assertEqual([float(cell) for cell in row], [
                float(f"{metrics[f'test_{measure}_{at}']:.4g}") for measure in
                ("accuracy", "true_positive_rate", "false_positive_rate")])
        at_ten = json.loads(self.succeed("eval", run, "--json", "--set", "task.interval=15"))
        self.assertEqual(at_ten["metrics"]["test_accuracy"], metrics["test_accuracy_interval_15"])

    def test_the_committed_capability_runs(self):
        self.with_committed_experiments()
        code, out, err = self.run_stpn("reproduce", "capability", "--budget", "smoke")
        self.assertEqual(code, 0, err)
        folder = self.folder / "runs/capability_smoke"
        for name, of in (("s3_joint", "joint_s3"), ("overwritten", "recall"), ("s5_alone", "tracking")):
            models = {path.stem for path in (CHECKOUT / "experiments/capability" / of).glob("*.toml")}
            self.assertEqual({path.name for path in (folder / name).iterdir()}, models)
            self.assertGreater((folder / f"{name}_generalisation.png").stat().st_size, 10_000)
        for part, sets in (("", 3), ("recall ", 1), ("tracking ", 1)):
            self.assertEqual(out.count(f"Test {part}accuracy in percent, at length"), sets)
        for bound in ("no binding", "no order", "no state"):
            self.assertIn(bound, out)

        run = folder / "s3_joint/lstm/seed1"
        metrics = json.loads((run / "summary.json").read_text())["metrics"]
        longer = json.loads(self.succeed("eval", run, "--json", "--set", "task.length=64", "--set",
                                         "task.pairs=16", "--set", "task.generators=32"))["metrics"]
        for name in ("test_accuracy", "test_recall_accuracy", "test_tracking_accuracy"):
            self.assertEqual(longer[name], metrics[f"{name}_length_64"])

    def test_the_committed_reproduction_runs(self):
        self.with_committed_experiments()
        code, out, err = self.run_stpn("reproduce", "retrieval", "--budget", "smoke")
        self.assertEqual(code, 0, err)
        models = {path.stem for path in (CHECKOUT / "experiments/retrieval").glob("*.toml")}
        self.assertEqual({path.name for path in
                          (self.folder / "runs/retrieval_smoke/pairs3").iterdir()},
                         models - {"reproduce"})
        # The bound without binding falls with the number of pairs.
        for level in ("43.00 %", "38.35 %", "33.66 %", "29.99 %", "23.60 %"):
            self.assertIn(level, out)


if __name__ == "__main__":
    support.main()
