"""The page of `stpn report`: its numbers, its failures, and what a browser makes of it."""

import contextlib
import html.parser
import importlib.util
import io
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import tempfile
import unittest
from pathlib import Path

import numpy
from stpn.report import charts, main, page
from stpn.report.gather import find_tasks
from stpn.report.statistics import interquartile_mean, interval
from stpn.runs.styles import styles
from support import begin_late, write_rl_run, write_run

PROGRAM, CHROMIUM = os.environ.get("STPN_PROGRAM"), shutil.which("chromium")


class Cells(html.parser.HTMLParser):
    """The cells of the tables of a page: (table, set, attributes, text)."""

    def __init__(self, text):
        super().__init__()
        self.cells, self.table, self.set, self.cell = [], None, None, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.table = attributes.get("data-table", self.table)
        self.set = attributes.get("data-set", self.set)
        if tag == "td":
            self.cell = [self.table, self.set, attributes, ""]

    def handle_endtag(self, tag):
        if tag == "td":
            self.cells.append(self.cell)
            self.cell = None

    def handle_data(self, data):
        if self.cell:
            self.cell[3] += data


def middle_half(values):
    """The interquartile mean, by hand."""
    values = sorted(values)
    cut = len(values) // 4
    return statistics.fmean(values[cut:len(values) - cut])


class ReportTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        self.runs = self.folder / "runs"

    def write_many(self):
        """Two tasks; of one two models with five seeds in two sets."""
        draws = random.Random(1)
        for name in ("pairs3", "pairs4"):
            for model in ("stpn", "lstm"):
                for seed in range(1, 6):
                    curve = [round(draws.random(), 6) for _ in range(7)]
                    write_run(self.runs / "retrieval" / name / model / f"seed{seed}", model, seed=seed,
                              accuracies=curve, test_accuracy=draws.random(), energy=1 + draws.random())
        write_rl_run(self.runs / "maze" / "quick" / "stpn" / "seed1")

    def report(self, *arguments, out="page.html"):
        """Runs main. Returns (exit code, page or None, what it wrote to standard error)."""
        out, err = self.folder / out, io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
            code = main.main([*map(str, arguments or [self.runs]), "--out", str(out), "--no-synapses"])
        return code, out.read_text() if code == 0 else None, err.getvalue()

    def assert_refused(self, wanted, *arguments, **options):
        code, _, err = self.report(*arguments, **options)
        self.assertEqual(code, 2)
        self.assertEqual(len(err.splitlines()), 1, err)
        self.assertIn(wanted, err)


class NumbersTest(ReportTest):
    def summaries(self, set_name, model):
        return [json.loads(path.read_text()) for path in self.runs.glob(f"*/{set_name}/{model}/*/summary.json")]

    def values(self, key, set_name, model):
        """The values of a measure, found in the files of the runs."""
        summaries = self.summaries(set_name, model)
        if key == "runs":
            return [len(summaries)]
        return [each[key] if key in each else each["metrics"][key] for each in summaries]

    def first_times(self, key, set_name, model, level):
        found = []
        for path in self.runs.glob(f"*/{set_name}/{model}/*/metrics.jsonl"):
            lines = map(json.loads, path.read_text().splitlines())
            found += [next(iter(line[key] for line in lines if level(line)), None)]
        return [time for time in found if time is not None]

    def test_every_number_is_of_the_runs(self):
        self.write_many()
        code, text, _ = self.report()
        self.assertEqual(code, 0)
        checked = 0
        for table, set_name, attributes, shown in Cells(text).cells:
            if table not in ("set", "glance"):
                continue
            if "data-value" not in attributes:
                self.assertNotRegex(shown, r"\d", attributes)  # a number that says not what it is
                continue
            key, value = attributes["data-key"], float(attributes["data-value"])
            model, wanted = attributes["data-model"], None
            if not model:  # a baseline
                wanted = [each["baselines"][key] for each in self.summaries(set_name, "stpn")][:1]
            elif key in ("epoch", "episodes"):
                level = (lambda line: line["validation_accuracy"] >= 0.99) if key == "epoch" else (
                    lambda line: line["reward_share"] >= round((120.1 - 5.5) / (270.3 - 5.5) / 2, 2))
                wanted = self.first_times(key, set_name, model, level)
            elif table == "set":
                wanted = self.values(key, set_name, model)
            else:  # at a glance: one of the sets
                sets = [self.values(key, name, model) for name in ("pairs3", "pairs4")]
                wanted = next((values for values in sets if abs(middle_half(values) - value) < 1e-9), [])
            self.assertAlmostEqual(middle_half(wanted), value, places=9, msg=(set_name, attributes))
            if "data-low" in attributes:
                low, high = float(attributes["data-low"]), float(attributes["data-high"])
                inside = [min(wanted), low, value, high, max(wanted)]
                self.assertTrue(all(a <= b * (1 + 1e-9) for a, b in zip(inside, inside[1:])), attributes)
            first = float(re.search(r"-?[\d.]+", shown.split(": ")[-1])[0])
            scale = 100 if "%" in shown else 1e-3 if key == "episodes" else 1
            digits = len(re.search(r"[\d.]+", shown.split(": ")[-1])[0].partition(".")[2])
            self.assertLessEqual(abs(first - scale * value), 0.5001 * 10 ** -digits, (shown, value))
            checked += 1
        self.assertGreater(checked, 40)

    def test_shares_are_of_the_best_even_if_it_is_not_shown(self):
        folder = self.runs / "familiarity" / "interval3"
        for model, accuracy in (("stpn", 0.6), ("lstm", 0.4), ("hebbff", 0.7), ("stpn_anti", 0.8)):
            for seed in (1, 2):
                write_run(folder / model / f"seed{seed}", model, seed=seed, test_accuracy=accuracy)
        rows = {row["id"]: row for row in charts.glance_rows(find_tasks([self.runs]))}
        self.assertEqual({model: row["share"] for model, row in rows.items()},
                         {"stpn": 0.75, "lstm": 0.5, "hebbff": 0.875})
        (baselines,) = {min(each["baselines"].values()) for each in self.summaries("interval3", "stpn")}
        self.assertAlmostEqual(rows["stpn"]["chance"], baselines / 0.8, places=5)

    def test_variations_of_a_set_are_not_at_a_glance(self):
        for name in ("recall", "recall_longest", "recalled"):
            for model in ("stpn", "lstm"):
                for seed in (1, 2):
                    write_run(self.runs / "recall" / name / model / f"seed{seed}", model, "recall", seed=seed)
        rows = charts.glance_rows(find_tasks([self.runs]))
        self.assertEqual({row["set"] for row in rows}, {"Recall", "Recall, recalled"})

    def test_curves_are_of_the_runs(self):
        self.write_many()
        for task in find_tasks([self.runs]):
            for runs in task.sets:
                for row in charts.curve_rows(runs, runs.kind.curves[0]):
                    (model,) = [model for model in runs.models if runs.model_name(model) == row["model"]]
                    values = [line[runs.kind.curves[0].key] for run in runs.models[model] for line in run.epochs
                              if line[runs.kind.time.key] == row["time"]]
                    self.assertAlmostEqual(row["value"], middle_half(values), places=5)

    def test_the_mean_of_curves_that_begin_at_different_epochs(self):
        for seed, early in ((1, 2), (2, 0)):
            begin_late(write_rl_run(self.runs / "maze" / "stpn" / f"seed{seed}", seed=seed), early)
        ((runs,),) = [task.sets for task in find_tasks([self.runs])]
        rows = charts.curve_rows(runs, runs.kind.curves[0])
        self.assertEqual([(row["time"], row["value"]) for row in rows], [(3 * 6400, 110.0)])
        begin_late(self.runs / "maze" / "stpn" / "seed1", 3)
        begin_late(write_rl_run(self.runs / "maze" / "stpn" / "seed3", seed=3), 0)
        self.assertEqual(self.report()[0], 0)

    def test_a_long_curve_keeps_its_first_and_last_point(self):
        chosen = charts.some(1000)
        self.assertEqual((chosen[0], chosen[-1], len(chosen)), (0, 999, charts.POINTS))
        self.assertEqual(charts.some(3), [0, 1, 2])

    def test_intervals_agree_with_rliable(self):
        a = numpy.array([0.42, 0.61, 0.55, 0.97, 0.31, 0.88, 0.73, 0.59])
        b = numpy.array([0.12, 0.25, 0.19, 0.33, 0.21, 0.52, 0.48, 0.09])
        # rliable 1.2.0 on pandas 2, 50,000 resamples: get_interval_estimates of aggregate_iqm.
        for strata, mean, ends in (([a], 0.62, (0.4575, 0.8125)), ([a, b], 0.43125, (0.32625, 0.53625))):
            self.assertAlmostEqual(interquartile_mean(numpy.concatenate(strata)), mean)
            numpy.testing.assert_allclose(interval(strata), ends, atol=0.012)
        self.assertIsNone(interval([a, b[:1]]))

    def test_sets_together_and_colours(self):
        self.write_many()
        _, text, _ = self.report()
        together = {attributes["data-model"]: attributes for table, _, attributes, _ in Cells(text).cells
                    if table == "together"}
        for model in ("stpn", "lstm"):
            values = [value for name in ("pairs3", "pairs4") for value in self.values("test_accuracy", name, model)]
            self.assertAlmostEqual(float(together[model]["data-value"]), middle_half(values))
        specs = json.loads(re.search(r'id="specs">(.*?)</script>', text)[1])
        self.assertEqual(specs["associative_retrieval_pairs3_validation_accuracy"]["layer"][-1]["encoding"]["color"][
            "scale"]["range"], [style["color"] for style in styles(["stpn", "lstm"]).values()])
        figures = {path.name for path in (self.folder / "page").iterdir()}
        for name in specs:
            self.assertLessEqual({f"{name}.png", f"{name}.svg"}, figures)


class FailuresTest(ReportTest):
    def test_without_runs_one_line(self):
        self.runs.mkdir()
        self.assert_refused("has no run")
        self.assert_refused("does not exist", self.folder / "nothing")
        write_run(self.runs / "set" / "stpn" / "seed1")
        self.assert_refused(".html", out="page.pdf")
        (self.runs / "set" / "stpn" / "seed1" / "summary.json").unlink()
        (self.runs / "set" / "stpn" / "seed1" / "metrics.jsonl").write_text("")
        self.assert_refused("no run has completed an epoch")

    def test_one_run_by_its_folder(self):
        run = write_run(self.runs / "mine")
        code, text, err = self.report(run)
        self.assertEqual(code, 0, err)
        self.assertIn("1 run of stpn, 1 finished", text)
        self.assertLess(len(text), 1_500_000)

    def test_half_done_and_broken_runs_are_named_and_in_no_mean(self):
        for seed in (1, 2, 3):
            write_run(self.runs / "set" / "stpn" / f"seed{seed}", seed=seed, test_accuracy=0.25 * seed)
        (self.runs / "set" / "stpn" / "seed2" / "summary.json").unlink()
        with open(self.runs / "set" / "stpn" / "seed3" / "metrics.jsonl", "a") as log:
            log.write('{"epoch": 4, "validation_acc</script><b>')
        code, text, err = self.report()
        self.assertEqual(code, 0, err)
        self.assertNotIn("<b>", text)
        for line in ("stpn/seed2: unfinished after 3 epochs: no summary.json", "seed3: unfinished after 3 epochs"):
            self.assertIn(line, text)
            self.assertIn(line, err)
        (cell,) = [attributes for table, _, attributes, _ in Cells(text).cells
                   if table == "set" and attributes.get("data-key") == "test_accuracy"]
        self.assertEqual(float(cell["data-value"]), 0.25)

    def test_sets_of_the_same_name_are_told_apart(self):
        for where in ("short", "full"):
            write_run(self.runs / where / "pairs3" / "stpn" / "seed1")
        code, text, err = self.report()
        self.assertEqual(code, 0, err)
        for where in ("short", "full"):
            self.assertIn(f'data-set="{where}/pairs3"', text)


@unittest.skipUnless(PROGRAM and CHROMIUM and importlib.util.find_spec("playwright"),
                     "needs the program, Chromium and playwright: cmake/setup.sh test")
class BrowserTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(scratch.cleanup)
        cls.folder = Path(scratch.name)
        experiments = Path(__file__).resolve().parents[2] / "experiments"
        small = {"retrieval": ["train.epochs=2", "task.training=1000", "task.validation=100", "task.test=100"],
                 "maze": ["train.iterations=2", "train.episodes=8", "train.warm_up=1", "train.report_every=1",
                          "task.steps=30", "task.test=8"]}
        for task, settings in small.items():
            command = [PROGRAM, "train", experiments / task / "stpn.toml", "--threads", "1", "--quiet", "--out",
                       cls.folder / task / "small" / "stpn" / "seed1"]
            subprocess.run([*command, *(word for each in settings for word in ("--set", each))], check=True)
        page.write_page(find_tasks([cls.folder]), cls.folder / "page.html")
        from playwright.sync_api import sync_playwright
        driver = sync_playwright().start()
        cls.addClassCleanup(driver.stop)
        cls.browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        cls.addClassCleanup(cls.browser.close)

    def open(self, width):
        self.said, self.asked = [], []
        opened = self.browser.new_page(viewport={"width": width, "height": 800})
        self.addCleanup(opened.close)
        opened.on("console", lambda message: self.said.append(message.text))
        opened.on("pageerror", lambda error: self.said.append(str(error)))
        opened.on("request", lambda request: self.asked.append(request.url))
        opened.goto(f"file://{self.folder}/page.html")
        opened.wait_for_function("document.documentElement.dataset.drawn === 'yes'")
        return opened

    def test_the_page_at_two_widths(self):
        for width in (1280, 390):
            with self.subTest(width=width):
                opened = self.open(width)
                self.assertEqual(self.said, [])
                self.assertEqual([url for url in self.asked if not url.startswith(("file:", "data:", "blob:"))], [])
                self.assertLessEqual(opened.evaluate("document.documentElement.scrollWidth"), width)
                # No figure is empty or wider than its place.
                for figure in opened.query_selector_all(".vega"):
                    drawn = figure.query_selector("svg").bounding_box()
                    self.assertGreater(drawn["height"], 100)
                    self.assertLessEqual(drawn["x"] + drawn["width"], width)
                sections = opened.query_selector_all("section.synapses")
                self.assertEqual(len(sections), 2)
                for section in sections:
                    self.move_the_slider(opened, section)
                self.assertEqual(self.said, [])

    def move_the_slider(self, opened, section):
        def seen():
            return section.evaluate("view => [view.querySelector('.matrix canvas').toDataURL(), "
                                    "view.querySelector('.drawing').innerHTML, "
                                    "view.querySelector('.words').textContent]")

        slider = section.query_selector("input")
        slider.focus()
        opened.keyboard.press("Home")
        self.assertEqual(section.query_selector("output").inner_text(), "1")
        first = seen()
        opened.keyboard.press("End")
        last = seen()
        self.assertNotEqual(first[0], last[0])
        self.assertNotEqual(first[1], last[1])
        opened.keyboard.press("ArrowLeft")
        self.assertNotEqual(seen()[0], last[0])
        section.query_selector("select").select_option("weight")
        values = "section => [0, 1, 2].map((i) => section.view.value(i, i))"
        fixed = section.evaluate(values)
        slider.focus()
        opened.keyboard.press("Home")
        section.query_selector("button").click()
        opened.wait_for_function("section => section.querySelector('output').textContent !== '1'", arg=section)
        slider.focus()
        opened.keyboard.press("Home")  # stops it
        self.assertEqual(section.query_selector("button").inner_text(), "Play")
        self.assertEqual(section.evaluate(values), fixed)  # trained weights do not change in a sequence

    def test_the_fast_weights_on_the_page_are_those_of_the_program(self):
        opened = self.open(1280)
        zero, grown = opened.evaluate("""() => {
            const view = document.querySelector('section.synapses').view;
            const mean = (frame) => view.fast.slice(frame * view.weight.length, (frame + 1) * view.weight.length)
                .reduce((sum, value) => sum + Math.abs(value), 0) / view.weight.length / 127 * view.data.fastBound;
            return [mean(0) - view.data.strength[0], mean(view.data.frames - 1) - view.data.strength.at(-1)];
        }""")
        bound = opened.evaluate("document.querySelector('section.synapses').view.data.fastBound") / 127
        self.assertLess(abs(zero), bound)
        self.assertLess(abs(grown), bound)


if __name__ == "__main__":
    unittest.main()
