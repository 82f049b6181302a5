"""ONNX models compute what the modules do, in onnxruntime."""

import tempfile
import unittest
from pathlib import Path

import numpy
import onnxruntime
import stpn
import torch
from stpn.onnx_export import export

I, H = 3, 5
VARIANTS = [
    (stpn.STPN, {}),
    (stpn.STPN, {"num_layers": 2, "norm": "post", "clamp": 0.3, "rates": "scalar"}),
    (stpn.STPN, {"norm": "none", "clamp": 0.2, "decay": "after_update", "activation": "sigmoid"}),
    (stpn.STPN, {"norm": "preactivation", "connections": "input", "presynaptic": "current", "clamp": 1.0}),
    (stpn.STPN, {"connections": "recurrent", "rule": "oja", "rates": "presynaptic", "bias": False}),
    (stpn.STPN, {"plastic_bias": True, "layer_norm": True, "presynaptic": "current"}),
    (stpn.STPN, {"update_gate": True, "write_gate": True, "decay_gate": True}),
    (stpn.STPN, {"update_gate": True, "write_gate": True, "norm": "post", "bias": False}),
    (stpn.STPNFeedforward, {"num_layers": 2, "activation": "relu", "bias_rates": "scalar", "plastic_bias": True}),
    (stpn.HebbFF, {}),
]


class OnnxTest(unittest.TestCase):
    def test_onnxruntime_computes_what_the_module_does(self):
        for kind, options in VARIANTS:
            with self.subTest(f"{kind.__name__} {options}"), tempfile.NamedTemporaryFile(suffix=".onnx") as file:
                torch.manual_seed(1)
                unit = kind(I, H, **options)
                with torch.no_grad():
                    for name, parameter in unit.named_parameters():
                        if "gamma" in name:
                            parameter.uniform_(-0.5, 0.5)  # else fast weights would hardly show
                export(unit, file.name)
                session = onnxruntime.InferenceSession(file.name)
                # Another T and B each time; the state is that of the call before.
                for T, B in ((7, 4), (2, 1), (11, 3)):
                    x = torch.randn(T, B, I)
                    state = unit(torch.randn(4, B, I))[1].detach()
                    given = {f"{name}_l{k}": field[k].numpy() for name, field in zip(state._fields, state)
                             if field is not None for k in range(unit.num_layers)}
                    names = [one.name for one in session.get_outputs()]
                    results = dict(zip(names, session.run(names, {"x": x.numpy(), **given})))
                    output, final = unit(x, state)
                    numpy.testing.assert_allclose(results["output"], output.detach(), rtol=1e-5, atol=1e-5)
                    for name, field in zip(final._fields, final):
                        for k in range(unit.num_layers if field is not None else 0):
                            numpy.testing.assert_allclose(results[f"final_{name}_l{k}"], field[k].detach(),
                                                          rtol=1e-5, atol=1e-5)

    def test_the_delta_rule_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "unit.onnx"
            with self.assertRaisesRegex(ValueError, "rule 'delta' does not go to ONNX"):
                export(stpn.STPN(2, 3, rule="delta"), path)
            self.assertFalse(path.exists())

    def test_other_units_are_refused(self):
        with self.assertRaisesRegex(TypeError, "FastWeights: only STPN"):
            export(stpn.FastWeights(I, H), "unused.onnx")


if __name__ == "__main__":
    unittest.main()
