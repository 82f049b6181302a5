import json
import tempfile
import unittest
from pathlib import Path

import matplotlib.image
from stpn import generalisation, reproduction
from stpn.runs import styles
from stpn.runs.sets import find_sets
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
        # Of two runs the interval is from the one to the other.
        self.assertEqual(rows[2], ["STPN", "98.0 [97.0, 99.0]", "90.0 [90.0, 90.0]", "75.0 [70.0, 80.0]"])
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

    def test_parts_of_a_task_have_tables_and_panels_of_their_own(self):
        for model, recall in (("stpn", 0.97), ("lstm", 0.2)):
            self.write_parts(model, {32: (0.99, recall), 64: (0.98, recall - 0.1)})
        text, figures, _ = reproduction.report([self.folder], self.folder)
        for title in ("Test accuracy in percent, at length", "Test recall accuracy in percent, at length",
                      "Test tracking accuracy in percent, at length"):
            self.assertEqual(text.count(title), 1)
        tables = text.split("Test recall accuracy")[1].split("Test tracking accuracy")
        self.assertIn("| STPN  | 97.0 | 87.0 |", tables[0])
        self.assertIn("| LSTM  | 20.0 | 10.0 |", tables[0])
        self.assertIn("| STPN  | 99.0 | 98.0 |", tables[1])
        means = text.split("Test accuracy in percent")[0].splitlines()
        self.assertIn("| recall  | tracking |", means[2])
        self.assertIn("| 97.00 % | 99.00 %  |", means[4])
        runs, = find_sets([self.folder])
        _, found = generalisation.sweeps(runs)
        self.assertEqual([measure.key for measure in generalisation.panels(found)],
                         ["recall_accuracy", "tracking_accuracy"])
        self.assertEqual([path.name for path in figures],
                         ["joint.png", "joint_energy.png", "joint_generalisation.png"])

    def write_parts(self, model, at_lengths):
        """A run with the accuracies {length: (tracking, recall)}, whose first length is that of training."""
        run = Path(write_run(self.folder / "joint" / model / "seed1", model, seed=1))
        summary = json.loads((run / "summary.json").read_text())
        for length, (tracking, recall) in at_lengths.items():
            for name, value in (("test_accuracy", (tracking + recall) / 2),
                                ("test_recall_accuracy", recall), ("test_tracking_accuracy", tracking)):
                summary["metrics"][f"{name}_length_{length}"] = value
                if length == min(at_lengths):
                    summary["metrics"][name] = value
        (run / "summary.json").write_text(json.dumps(summary))

    def test_a_task_without_difficulties_has_neither(self):
        write_run(self.folder / "pairs3" / "stpn" / "seed1", "stpn", seed=1)
        runs, = find_sets([self.folder])
        self.assertEqual(generalisation.table(runs), "")
        self.assertFalse(generalisation.figure(runs, {}, self.folder / "none.png"))
        self.assertFalse((self.folder / "none.png").exists())


if __name__ == "__main__":
    unittest.main()
