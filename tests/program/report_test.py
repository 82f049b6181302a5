"""`stpn report`, and experiments/all.sh, which `make experiments` calls."""

import os
import pathlib
import subprocess
import sys
import unittest.mock

import support

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]

REPRODUCTION = """
[[set]]
name = "{task}"
models = ["stpn"]
seeds = 2

[budget.smoke]
settings = ["train.epochs=1"]
"""


class Report(support.ProgramTest):
    def setUp(self):
        super().setUp()
        self.patch(STPN_PYTHON=sys.executable, PYTHONPATH=str(CHECKOUT / "python"))

    def patch(self, **variables):
        patch = unittest.mock.patch.dict(os.environ, variables)
        patch.start()
        self.addCleanup(patch.stop)

    def write_task(self, task, experiment=support.EXPERIMENT.replace('"lstm"', '"stpn_recurrent"')):
        folder = self.folder / "experiments" / task
        folder.mkdir(parents=True)
        (folder / "stpn.toml").write_text(experiment)
        (folder / "reproduce.toml").write_text(REPRODUCTION.format(task=task))

    def experiments(self, budget):
        return subprocess.run([CHECKOUT / "experiments" / "all.sh", budget, support.STPN], cwd=self.folder,
                              capture_output=True, text=True)

    def test_mistakes_are_one_line(self):
        self.expect_user_error(("report",), "results", "does not exist")
        self.expect_user_error(("report", ".", "--out", "page.html"), "has no run")
        self.expect_user_error(("report", "--out", ""), "--out")
        self.patch(STPN_PYTHON=str(self.folder / "no_python"))
        self.expect_user_error(("report",), "no_python", "STPN_PYTHON")

    def test_all_experiments_and_their_page(self):
        self.write_task("one")
        self.write_task("two")
        self.write_task("broken", support.EXPERIMENT.replace("pairs = 2", "pairs = 99"))
        ended = self.experiments("smoke")
        self.assertEqual(ended.returncode, 1, ended.stderr)
        self.assertIn("experiments: failed: broken;", ended.stderr)
        page = (self.folder / "runs/report_smoke.html").read_text()
        self.assertIn("4 runs of stpn, 4 finished", page)
        for task in ("one", "two"):
            self.assertTrue((self.folder / f"runs/{task}_smoke/table.md").exists())
        (self.folder / "experiments/broken/reproduce.toml").unlink()
        self.patch(STPN_PYTHON="true")  # makes no second page
        before = {path: path.stat().st_mtime_ns for path in self.folder.rglob("seed*/summary.json")}
        self.assertEqual(self.experiments("smoke").returncode, 0)
        self.assertEqual({path: path.stat().st_mtime_ns for path in before}, before)

    def test_an_unknown_budget_is_refused(self):
        ended = self.experiments("tiny")
        self.assertEqual((ended.returncode, ended.stderr),
                         (2, "experiments: BUDGET=tiny: must be smoke, short or full\n"))


if __name__ == "__main__":
    support.main()
