"""The gallery of plots shows what the unit did; importing the package does not import what only it needs."""

import subprocess
import sys
import unittest
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import stpn  # noqa: E402
import torch  # noqa: E402
from stpn.plots import efficacy_histogram, energy_per_neuron, fast_weights_over_time  # noqa: E402

CHECKOUT = Path(__file__).resolve().parents[2]
UNITS = [stpn.STPN, stpn.STPNFeedforward, stpn.HebbFF, stpn.FastWeights, stpn.Backpropamine]


class PlotTest(unittest.TestCase):
    def tearDown(self):
        plt.close("all")

    def test_fast_weights_are_those_of_the_states(self):
        for kind in UNITS:
            torch.manual_seed(1)
            unit = kind(3, 4, num_layers=2, batch_first=True)
            x = torch.randn(2, 6, 3)
            norms = fast_weights_over_time(unit, x, layer=1).axes[0].lines[0].get_ydata()
            fast = next(field for field in unit(x[:1])[1] if isinstance(field, tuple))[1]
            self.assertEqual(len(norms), 6)
            self.assertAlmostEqual(norms[-1], fast.norm().item(), places=5)

    def test_energy_is_that_of_the_unit(self):
        for kind in UNITS:
            torch.manual_seed(1)
            for batch_first in (False, True):
                unit, x = kind(3, 4, batch_first=batch_first), torch.randn(6, 6, 3)
                figure = energy_per_neuron(unit, x)
                widths = [bar.get_width() for bar in figure.axes[1].patches]
                want = unit(x, energy=True)[2][0].mean((0, 1)).tolist()
                for ours, one in zip(widths, want, strict=True):
                    self.assertAlmostEqual(ours, one, places=5)

    def test_efficacies_are_sums(self):
        for options in ({}, {"connections": "recurrent"}, {"connections": "input"}):
            unit = stpn.STPN(3, 4, **options)
            self.assertEqual(len(efficacy_histogram(unit, unit(torch.randn(5, 2, 3))[1]).axes[0].patches), 2)
        other = stpn.FastWeights(3, 4)
        with self.assertRaisesRegex(TypeError, "FastWeights: its efficacy is not W . F"):
            efficacy_histogram(other, other.initial_state(2))

    def test_mistakes_are_named(self):
        unit, x = stpn.STPN(3, 4), torch.zeros(5, 2, 3)
        for plot, given in ((energy_per_neuron, x), (fast_weights_over_time, x),
                            (efficacy_histogram, unit.initial_state(2))):
            for layer in (3, -1):
                with self.assertRaisesRegex(IndexError, f"STPN: layer is {layer}, wants a number from 0 to 0"):
                    plot(unit, given, layer=layer)
            with self.assertRaisesRegex(TypeError, "LSTM: is not a unit of stpn"):
                plot(torch.nn.LSTM(3, 4), given)

    def test_the_version_is_that_of_the_library(self):
        self.assertIn(f"project(stpn VERSION {stpn.__version__}", (CHECKOUT / "CMakeLists.txt").read_text())

    def test_the_package_imports_what_is_used_and_no_more(self):
        program = ("import sys, stpn\n"
                   "print([name in sys.modules for name in ('torch', 'matplotlib')])\n"
                   "stpn.STPN\n"
                   "print([name in sys.modules for name in ('torch', 'matplotlib', 'PIL', 'onnx')])\n")
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        self.assertEqual(run.stdout.splitlines(), ["[False, False]", "[True, False, False, False]"])


if __name__ == "__main__":
    unittest.main()
