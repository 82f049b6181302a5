"""The demo with the real program, ended after the first epochs."""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

DEMO = str(Path(__file__).resolve().parents[1] / "demo.py")


def demo(out, target_accuracy):
    return subprocess.run(
        [sys.executable, DEMO, "--stpn", os.environ["STPN_PROGRAM"], "--out", out,
         "--target-accuracy", target_accuracy], capture_output=True, text=True)


class DemoTest(unittest.TestCase):
    def test_trains_both_for_as_many_epochs_and_can_be_repeated(self):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            for _ in range(2):
                run = demo(folder, "0.05")
                self.assertEqual(run.returncode, 0, run.stderr)
                self.assertIn("test accuracy", run.stdout)
            epochs = {model: (out / model / "metrics.jsonl").read_text().splitlines()
                      for model in ("stpn", "lstm")}
            self.assertEqual(len(epochs["stpn"]), len(epochs["lstm"]))
            summary = json.loads((out / "stpn" / "summary.json").read_text())
            self.assertGreaterEqual(summary["metrics"]["validation_accuracy"], 0.05)
            self.assertGreater((out / "curves.png").stat().st_size, 10_000)

    def test_returns_the_exit_code_of_the_program(self):
        with tempfile.TemporaryDirectory() as folder:
            run = demo(folder, "nan")
        self.assertEqual(run.returncode, 2, run.stdout)
        self.assertNotIn("Traceback", run.stderr)


if __name__ == "__main__":
    unittest.main()
