"""stpn.runtime beside the ops: a trained agent, step by step."""

import gc
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy
from stpn import runtime

RUN = Path(__file__).resolve().parents[2] / "results/maze/published/stpn/seed1"


class RuntimeTest(unittest.TestCase):
    def test_a_trained_agent_does_the_same_as_in_torch(self):
        import torch
        from stpn.checkpoints import load_unit, load_weights

        unit, weights = load_unit(RUN), load_weights(RUN)
        network = runtime.Network(RUN)
        self.assertEqual((network.inputs, network.neurons, network.plastic), (17, 55, 72))
        self.assertEqual(network.heads, {"policy": 4, "value": 1})
        memory = network.memory()
        x = torch.rand(200, 1, 17, generator=torch.Generator().manual_seed(1))
        state = None
        with torch.no_grad():
            for t in range(200):
                output, state = unit(x[t:t + 1], state)
                h = memory.step(x[t, 0].numpy())
                numpy.testing.assert_allclose(h, output[0, 0], rtol=0, atol=1e-6)
                numpy.testing.assert_allclose(memory.F, state.F[0][0], rtol=0, atol=1e-6)
                logits = torch.nn.functional.linear(output[0, 0], weights["policy.weight"],
                                                    weights["policy.bias"])
                numpy.testing.assert_allclose(memory.output("policy"), logits, rtol=0, atol=1e-5)
                memory.h[:], memory.F[:] = output[0, 0], state.F[0][0]  # from the same state again

    def test_the_state_can_be_reset_and_set(self):
        network = runtime.Network(RUN)
        memory, other = network.memory(), network.memory()
        x = numpy.linspace(-1, 1, 17)
        first = memory.step(x)
        second = memory.step(x)
        self.assertGreater(abs(second - first).max(), 0)
        other.h[:], other.F[:] = first, 0
        memory.reset()
        self.assertEqual(abs(memory.F).max(), 0)
        numpy.testing.assert_array_equal(memory.step(x), first)
        memory.F[:] = 0
        numpy.testing.assert_array_equal(memory.step(x), other.step(x))
        F = memory.F
        del memory, other, network
        gc.collect()
        self.assertTrue(numpy.isfinite(F).all())  # a view outlives its memory

    def test_errors_say_what_is_wrong(self):
        with self.assertRaisesRegex(runtime.NetworkError, "unit lstm"):
            runtime.Network(RUN.parents[1] / "lstm/seed1")
        with tempfile.TemporaryDirectory() as folder:
            with self.assertRaisesRegex(runtime.NetworkError, "last.safetensors"):
                runtime.Network(folder)
        memory = runtime.Network(RUN).memory()
        with self.assertRaisesRegex(ValueError, "17 inputs"):
            memory.step(numpy.zeros(16))
        with self.assertRaisesRegex(KeyError, "no output 'polic': the network has policy, value"):
            memory.output("polic")

    def test_it_needs_no_torch(self):
        code = "import sys; import stpn; stpn.runtime.Network, stpn.__version__; sys.exit('torch' in sys.modules)"
        subprocess.run([sys.executable, "-c", code], check=True)
        library = Path(runtime._LIBRARY._name)
        self.assertLess(library.stat().st_size, 2**20)
        needed = subprocess.run(["ldd", library], check=True, capture_output=True, text=True).stdout
        self.assertNotRegex(needed, "torch|not found")


if __name__ == "__main__":
    unittest.main()
