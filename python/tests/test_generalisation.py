import json
import tempfile
import unittest
from pathlib import Path

import matplotlib.image
from stpn import generalisation, reproduction, styles
from stpn.run_sets import find_sets
from support import write_run


def sweep_of(accuracies):
    """Metrics of a sweep over the intervals {interval: accuracy}."""
    return {f"test_{measure}_interval_{interval}": value
            for interval, accuracy in accuracies.items()
            for measure, value in (("accuracy", accuracy), ("true_positive_rate", accuracy - 0.1),
                                   ("false_positive_rate", 0.05))}


class GeneralisationTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name) / "runs"

    def write(self, model, seed, accuracies):
        run = Path(write_run(self.folder / "interval3" / model / f"seed{seed}", model, seed=seed))
        summary = json.loads((run / "summary.json").read_text())
        summary["metrics"] |= sweep_of(accuracies)
        (run / "summary.json").write_text(json.dumps(summary))

    def test_table_has_the_difficulties_that_all_runs_have(self):
        self.write("stpn", 1, {1: 0.99, 3: 0.9, 10: 0.7, 13: 0.6})
        self.write("stpn", 2, {1: 0.97, 3: 0.9, 10: 0.8})
        self.write("lstm", 1, {1: 0.6, 3: 0.98, 10: 0.65})
        runs, = find_sets([self.folder])
        text = generalisation.table(runs)
        self.assertIn("at interval\n", text)
        rows = [[cell.strip() for cell in line.strip("|").split("|")]
                for line in text.splitlines() if line.startswith("|")]
        self.assertEqual(rows[0], ["model", "1", "3", "10"])
        # By hand: standard deviations 1.41 of 99 and 97, and 7.07 of 70 and 80.
        self.assertEqual(rows[2], ["STPN", "98.0 ± 1.4", "90.0 ± 0.0", "75.0 ± 7.1"])
        self.assertEqual(rows[3], ["LSTM", "60.0", "98.0", "65.0"])

    def test_report_has_table_and_figure(self):
        for model in ("stpn", "lstm"):
            for seed in (1, 2):
                self.write(model, seed, {1: 0.99, 3: 0.9 + 0.01 * seed, 10: 0.7, 120: 0.6})
        text, figures, _ = reproduction.report([self.folder], self.folder)
        self.assertIn(generalisation.table(find_sets([self.folder])[0]), text)
        figure, = [path for path in figures if path.name == "interval3_generalisation.png"]
        pixels = matplotlib.image.imread(figure)[..., :3]
        for colour in styles.COLOURS[:2]:
            wanted = matplotlib.colors.to_rgb(colour)
            self.assertGreater((abs(pixels - wanted).max(axis=-1) < 0.01).sum(), 50, colour)

    def test_a_task_without_difficulties_has_neither(self):
        write_run(self.folder / "pairs3" / "stpn" / "seed1", "stpn", seed=1)
        runs, = find_sets([self.folder])
        self.assertEqual(generalisation.table(runs), "")
        self.assertFalse(generalisation.figure(runs, {}, self.folder / "none.png"))
        self.assertFalse((self.folder / "none.png").exists())


if __name__ == "__main__":
    unittest.main()
