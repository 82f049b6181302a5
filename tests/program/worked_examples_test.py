"""What docs/adding_a_task.md and CONTRIBUTING.md tell one to do: the toy tasks are learnt, to a level
that a model without memory cannot reach, and a golden file made from equations agrees with the unit."""

import json
import pathlib
import subprocess
import sys

import support

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]


class WorkedExamplesTest(support.ProgramTest):
    def trained(self, experiment):
        self.succeed("train", CHECKOUT / "experiments" / experiment, "--out", "run", "--quiet")
        return json.loads((self.folder / "run" / "summary.json").read_text())

    def test_delayed_copy_is_learnt(self):
        summary = self.trained("delayed_copy/stpn.toml")
        self.assertEqual(summary["baselines"], {"chance_accuracy": 0.125})
        self.assertGreater(summary["metrics"]["test_accuracy"], 0.9)
        longer = json.loads(self.succeed("eval", "run", "--json", "--set", "task.delay=5"))
        self.assertEqual(longer["sequences"], 1000)

    def test_hold_is_learnt(self):
        summary = self.trained("hold/stpn.toml")
        # Without memory at most 1, with it 6 at most: the mean length.
        self.assertGreater(summary["metrics"]["reward"], 4)
        self.assertAlmostEqual(summary["metrics"]["episode_length"], 6, delta=0.5)
        self.assertLess(abs(summary["baselines"]["random_reward"]), 0.5)

    def test_a_golden_file_made_from_equations_agrees(self):
        made = self.folder / "made.json"
        subprocess.run([sys.executable, CHECKOUT / "tests/golden/make_golden.py",
                        "stpn_recurrent", "-o", made], check=True)
        self.assertIn("ok", self.succeed("verify", made))
        content = json.loads(made.read_text())
        content["grad"]["param.weight"]["data"][3] *= 1.001
        made.write_text(json.dumps(content))
        code, out, _ = self.run_stpn("verify", made)
        self.assertEqual(code, 1, out)


if __name__ == "__main__":
    support.main()
