"""The modules: torch.nn.LSTM's conventions, the units' values, and sequences of several lengths."""

import copy
import io
import os
import pickle
import re
import subprocess
import sys
import unittest
from pathlib import Path

import stpn
import torch
from stpn.checkpoints import OF_TRAINING
from stpn.signature import signature_of
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

CHECKOUT = Path(__file__).resolve().parents[2]
I, H = 3, 5
ROUNDING = {"rtol": 1e-10, "atol": 1e-12}  # of double, where sums are taken in another order
VARIANTS = {
    "STPN": (stpn.STPN, {}),
    "STPN post": (stpn.STPN, {"norm": "post", "clamp": 1.0, "connections": "input"}),
    "STPN plastic bias": (stpn.STPN, {"plastic_bias": True, "layer_norm": True, "bias_rates": "scalar"}),
    "STPN gates": (stpn.STPN, {"update_gate": True, "write_gate": True, "decay_gate": True}),
    "STPN delta": (stpn.STPN, {"rule": "delta", "update_gate": True, "write_gate": True}),
    "STPN scalar": (stpn.STPN, {"rates": "scalar", "bias": False, "connections": "recurrent"}),
    "STPNFeedforward": (stpn.STPNFeedforward, {"rates": "presynaptic"}),
    "HebbFF": (stpn.HebbFF, {}),
    "FastWeights": (stpn.FastWeights, {"inner_steps": 2}),
    "FastWeights bare": (stpn.FastWeights, {"layer_norm": False, "bias": False, "rate": 0.1}),
    "Backpropamine": (stpn.Backpropamine, {}),
    "Backpropamine modul": (stpn.Backpropamine, {"neuromodulation": "modul", "bias": False}),
}


def each_variant(test):
    """The test(self, make) as one for all variants; make(**arguments) makes a unit of double."""
    def run(self):
        for name, (unit, options) in VARIANTS.items():
            with self.subTest(name):
                torch.manual_seed(1)
                test(self, lambda unit=unit, options=options, **more: unit(
                    I, H, dtype=torch.float64, **options, **more))

    return run


def options_of(unit):
    """All options a unit was made with."""
    named = ("bias", "layer_norm", "rates", "plastic_bias", "bias_rates")
    if isinstance(unit, stpn.STPN):
        named += ("update_gate", "write_gate", "decay_gate")
    if isinstance(unit, stpn.HebbFF):
        named = ("bias",)
    return unit.options | {name: getattr(unit, name) for name in named if hasattr(unit, name)}


def draw(*shape):
    return torch.randn(shape, dtype=torch.float64)


def flat(state):
    """All tensors of a state."""
    return [tensor for field in state if field is not None
            for tensor in (field if isinstance(field, tuple) else (field,))]


def sample_of(state, b):
    """The state of one sample, as a batch."""
    return type(state)(*[field if field is None else tuple(fast[b:b + 1] for fast in field)
                         if isinstance(field, tuple) else field[:, b:b + 1] for field in state])


class ConventionTest(unittest.TestCase):
    def assert_same(self, ours, theirs):
        torch.testing.assert_close(ours, theirs, **ROUNDING)

    def assert_same_results(self, ours, theirs):
        self.assert_same(ours[0], theirs[0])
        self.assertIs(type(ours[1]), type(theirs[1]))
        for one, other in zip(flat(ours[1]), flat(theirs[1]), strict=True):
            self.assert_same(one, other)
        for one, other in zip(ours[2:], theirs[2:], strict=True):
            self.assert_same(one, other)

    @each_variant
    def test_shapes_are_those_of_an_lstm(self, make):
        for layers in (1, 2):
            for batch_first in (False, True):
                unit = make(num_layers=layers, batch_first=batch_first)
                lstm = torch.nn.LSTM(I, H, layers, batch_first=batch_first).double()
                for shape in ((7, 4, I), (7, I), (7, 1, I)):
                    output, state = unit(draw(*shape))
                    expected, (h, _) = lstm(draw(*shape))
                    self.assertEqual(output.shape, expected.shape)
                    if hasattr(state, "h"):
                        self.assertEqual(state.h.shape, h.shape)

    @each_variant
    def test_a_sequence_in_two_parts_is_the_whole(self, make):
        unit, x = make(num_layers=2), draw(7, 4, I)
        first, state = unit(x[:3], energy=False)
        second, final, energy = unit(x[3:], state, energy=True)
        output, expected, whole = unit(x, energy=True)
        self.assert_same_results((torch.cat([first, second]), final, energy),
                                 (output, expected, whole[:, 3:]))
        self.assertFalse(any(tensor.requires_grad for tensor in flat(state.detach())))

    @each_variant
    def test_gradients_through_a_state_can_be_bounded(self, make):
        unit = make(num_layers=2)
        state = unit(draw(3, 4, I))[1].detach()
        inputs = [tensor.requires_grad_() for tensor in flat(state)]
        x, weights = draw(3, 4, I), torch.tensor([1e-3, 1.0, 1.0, 1.0], dtype=torch.float64)[:, None]

        def gradients(through):
            return torch.autograd.grad((unit(x, through)[0] * weights).sum(), inputs)

        whole = gradients(state)
        most = float(torch.stack([each.norm() for each in whole]).min()) / 2
        fields = [name for name, field in state._asdict().items() for _ in flat([field])]
        cut = 0
        for name, before, after in zip(fields, whole, gradients(state.bound_gradient(most)), strict=True):
            norm = before.norm(dim=2 if name in ("h", "beta") else (1, 2), keepdim=True)
            cut += int((norm > most).sum())
            self.assert_same(after, before * torch.where(norm > most, most / norm, 1.0))
        self.assertGreater(cut, 0)
        self.assert_same(unit(x, state.bound_gradient(most))[0], unit(x, state)[0])
        for same, other in zip(gradients(state.bound_gradient(1e9)), whole, strict=True):
            self.assert_same(same, other)

    @each_variant
    def test_layouts_do_not_change_values(self, make):
        unit = make(num_layers=2)
        other = make(num_layers=2, batch_first=True)
        other.load_state_dict(unit.state_dict())
        x, reset = draw(7, 4, I), torch.rand(7, 4) < 0.2
        output, state, energy = unit(x, reset=reset, energy=True)
        first = other(x.transpose(0, 1), reset=reset.T, energy=True)
        self.assert_same_results((first[0].transpose(0, 1), first[1], first[2].transpose(1, 2)),
                                 (output, state, energy))
        alone = unit(x[:, 2], reset=reset[:, 2], energy=True)
        self.assert_same_results((alone[0], unit._with_batch(alone[1]), alone[2]),
                                 (output[:, 2], sample_of(state, 2), energy[:, :, 2]))
        resumed = unit(x[:, 2], alone[1])[0]
        self.assert_same(resumed, unit(x[:, 2:3], sample_of(state, 2))[0][:, 0])

    @each_variant
    def test_layers_are_a_chain(self, make):
        unit, x = make(num_layers=2, dropout=1.0).eval(), draw(7, 4, I)
        cells = [type(unit)(size, H, dtype=torch.float64, **options_of(unit)) for size in (I, H)]
        for layer, cell in enumerate(cells):
            cell.load_state_dict({name.replace(f"_l{layer}", "_l0"): value
                                  for name, value in unit.state_dict().items()
                                  if name.endswith(f"_l{layer}")})
        self.assert_same(unit(x)[0], cells[1](cells[0](x)[0])[0])
        unit.train()  # now the second layer sees zeros
        self.assert_same(unit(x)[0], cells[1](torch.zeros(7, 4, H, dtype=torch.float64))[0])

    @each_variant
    def test_lengths_are_those_of_each_sequence_alone(self, make):
        unit, x = make(num_layers=2), draw(7, 4, I)
        lengths, reset = [3, 7, 1, 3], torch.rand(7, 4) < 0.2
        _, state = unit(draw(2, 4, I))
        for before in (None, state):
            output, final, energy = unit(x, before, lengths, reset, energy=True)
            packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
            from_packed = unit(packed, before, energy=True)
            for b, length in enumerate(lengths):
                alone = unit(x[:length, b:b + 1], before and sample_of(before, b),
                             reset=reset[:length, b:b + 1], energy=True)
                self.assert_same_results(
                    (output[:length, b:b + 1], sample_of(final, b), energy[:, :length, b:b + 1]), alone)
                self.assertFalse(output[length:, b].any() or energy[:, length:, b].any())
            plain = unit(x, before, lengths, energy=True)
            self.assert_same_results(unit(x, before, lengths), plain[:2])
            padded = [pad_packed_sequence(one)[0] for one in (from_packed[0], *from_packed[2])]
            self.assert_same_results((padded[0], from_packed[1], torch.stack(padded[1:])), plain)

    @each_variant
    def test_a_cell_takes_one_step_of_its_unit(self, make):
        unit = make()
        cell_type = getattr(stpn, f"{type(unit).__name__}Cell")
        cell = cell_type(I, H, dtype=torch.float64, **options_of(unit))
        cell.unit.load_state_dict(unit.state_dict())
        x, state = draw(3, 4, I), None
        reset = torch.tensor([[False] * 4, [False, True, False, False], [False] * 4])
        for t in range(3):
            output, state = cell(x[t], state, reset[t])
        whole = unit(x, reset=reset)
        self.assert_same_results((output, state), (whole[0][-1], whole[1]))
        self.assertEqual(cell(x[0, 0], cell.initial_state())[0].shape, (H,))

    @each_variant
    def test_the_functional_form_is_the_module(self, make):
        unit, x = make(), draw(6, 4, I)
        given = unit._given({name: unit.get_parameter(key) for name, key in unit._keys[0]})
        output, state, energy = getattr(stpn.functional, unit.signature.op)(
            x, **given, energy=True, **unit.options)
        expected, after, spent = unit(x, energy=True)
        self.assert_same(output, expected)
        self.assert_same(energy, spent[0])
        for name, value in state.items():
            self.assert_same(value, getattr(after, name)[0])

    @each_variant
    def test_copies_compute_the_same(self, make):
        unit, x = make(num_layers=2), draw(4, 2, I)
        for other in (copy.deepcopy(unit), pickle.loads(pickle.dumps(unit))):
            self.assert_same_results(other(x), unit(x))
        state = unit(x)[1]
        self.assertIs(type(pickle.loads(pickle.dumps(state))), type(state))

    @each_variant
    def test_a_state_can_be_saved_and_loaded(self, make):
        state = make(num_layers=2)(draw(4, 3, I))[1].detach()
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        loaded = torch.load(file)
        self.assert_same_results((loaded.h if hasattr(loaded, "h") else loaded.F, loaded),
                                 (state.h if hasattr(state, "h") else state.F, state))

    @each_variant
    def test_a_state_goes_to_a_dtype_or_a_device(self, make):
        state = make(num_layers=2)(draw(4, 3, I))[1]
        for moved, dtype, device in ((state.to(torch.float32), torch.float32, "cpu"),
                                     (state.to("meta"), torch.float64, "meta"),
                                     (state.to(device="meta", dtype=torch.float32), torch.float32, "meta")):
            self.assertIs(type(moved), type(state))
            for one, other in zip(flat(moved), flat(state), strict=True):
                self.assertEqual((one.dtype, one.device.type, one.shape), (dtype, device, other.shape))

    @each_variant
    def test_a_state_can_be_one_tensor(self, make):
        unit = make(num_layers=2)
        state = unit(draw(4, 3, I))[1]
        flat_state = unit.flatten_state(state)
        self.assertEqual(flat_state.shape, (3, unit.state_size))
        self.assert_same_results((flat_state, unit.unflatten_state(flat_state)), (flat_state, state))

    @each_variant
    def test_no_samples_are_allowed_and_no_steps_are_not(self, make):
        lstm = torch.nn.LSTM(I, H)
        for unit, dtype in ((lstm, torch.float32), (make(), torch.float64)):
            self.assertEqual(unit(torch.zeros(4, 0, I, dtype=dtype))[0].shape, (4, 0, H))
            with self.assertRaises(RuntimeError):
                unit(torch.zeros(0, 4, I, dtype=dtype))

    @each_variant
    def test_nan_stays_in_its_sample(self, make):
        unit, x = make(num_layers=2), draw(6, 4, I).requires_grad_()
        clean = unit(x)
        (gradient,) = torch.autograd.grad(clean[0].sum(), x)
        dirty = x.detach().clone()
        dirty[2, 1] = float("nan")
        dirty.requires_grad_()
        output, state = unit(dirty)
        others = [0, 2, 3]
        self.assert_same(output[:, others], clean[0][:, others])
        self.assertTrue(output[2:, 1].isnan().all())
        for b in others:
            for one, other in zip(flat(sample_of(state, b)), flat(sample_of(clean[1], b))):
                self.assert_same(one, other)
        self.assert_same(torch.autograd.grad(output.sum(), dirty)[0][:, others],
                         gradient[:, others])

    def test_inputs_are_left_out_of_the_energy(self):
        for name, (unit_type, options) in VARIANTS.items():
            with self.subTest(name):
                unit = unit_type(I, H, **options)
                x = torch.randn(1, 4, I)
                x[..., 1] = 0
                want = unit(x, energy=True)[2]
                unit.leave_out_of_energy([1])
                self.assert_same(unit(x, energy=True)[2], want)
                unit.leave_out_of_energy(range(I))
                self.assertTrue((unit(x, energy=True)[2] < want).any())


class SignatureTest(unittest.TestCase):
    UNITS = {"stpn_recurrent": stpn.STPN, "stpn_feedforward": stpn.STPNFeedforward,
             "fast_weights": stpn.FastWeights, "backpropamine": stpn.Backpropamine}

    def test_options_and_defaults_are_those_of_the_program(self):
        for name, unit_type in self.UNITS.items():
            text = subprocess.run([os.environ["STPN_PROGRAM"], "list", "units", name], capture_output=True, text=True,
                                  check=True).stdout
            listed = dict(re.findall(r"^  (\w+) = (\S+)", text, re.MULTILINE))
            listed.pop("hidden_size")
            for option in OF_TRAINING:
                listed.pop(option, None)
            listed.pop("parametrisation", None)  # in Python a class of its own: HebbFF
            unit = unit_type(2, 3)
            ours = {key: value for key, value in options_of(unit).items()
                    if key != "bias" or "bias" in listed}  # the program's others always have one
            written = {key: "inf" if value is None else str(value).lower() if isinstance(value, bool)
                       else f'"{value}"' if isinstance(value, str) else str(value)
                       for key, value in ours.items()}
            self.assertEqual(written, listed)

    def test_the_types_of_options_are_those_of_the_ops(self):
        made = subprocess.run([sys.executable, CHECKOUT / "python/make_options.py"], check=True,
                              capture_output=True, text=True).stdout
        self.assertEqual((CHECKOUT / "python/stpn/nn/options.py").read_text(), made,
                         "run python/make_options.py")

    def test_the_page_of_classes_is_what_the_docstrings_say(self):
        made = subprocess.run([sys.executable, CHECKOUT / "python/make_api.py"], check=True,
                              capture_output=True, text=True).stdout
        self.assertEqual((CHECKOUT / "docs/python_api.md").read_text(), made, "run python/make_api.py")

    def test_cells_do_not_take_what_is_of_layers_and_sequences(self):
        for cell in (stpn.STPNCell, stpn.STPNFeedforwardCell, stpn.HebbFFCell, stpn.FastWeightsCell,
                     stpn.BackpropamineCell):
            for name, value in (("num_layers", 1), ("batch_first", True), ("dropout", 0.5)):
                with self.assertRaisesRegex(TypeError, f"^{cell.__name__} got an unexpected .* '{name}'"):
                    cell(6, 4, **{name: value})

    def test_initial_values_are_those_that_the_page_of_units_states(self):
        torch.manual_seed(1)
        unit = stpn.STPN(80, 100)
        for name, low, high in (("weight", -0.1, 0.1), ("bias", -0.1, 0.1),
                                ("weight_lambda", 0, 1), ("weight_gamma", -1e-4, 1e-4)):
            values = unit.get_parameter(f"{name}_l0")
            self.assertGreaterEqual(values.min().item(), low)
            self.assertLessEqual(values.max().item(), high)
            self.assertLess(values.min().item(), low + 0.1 * (high - low))
            self.assertGreater(values.max().item(), high - 0.1 * (high - low))
        hebbff = stpn.HebbFF(4, 10)
        given = hebbff._given({name: hebbff.get_parameter(key) for name, key in hebbff._keys[0]})
        self.assertAlmostEqual(given["weight_lambda"].item(), 0.99, places=6)
        self.assertAlmostEqual(given["weight_gamma"].item(), -0.5, places=6)

    def test_repr_shows_what_differs_from_the_default(self):
        unit = stpn.STPN(3, 4, num_layers=2, norm="post", clamp=1, rates="scalar")
        self.assertEqual(repr(unit),
                         "STPN(3, 4, num_layers=2, norm='post', clamp=1.0, rates='scalar')")

    def test_every_line_of_a_description_is_understood(self):
        for name in self.UNITS:
            signature = signature_of(name)
            self.assertTrue(all(option.meaning for option in signature.options))
        norm = signature_of("stpn_recurrent").options[0]
        self.assertEqual((norm.name, norm.default, norm.choices),
                         ("norm", "pre", ("none", "preactivation", "pre", "post")))


class MistakeTest(unittest.TestCase):
    def test_each_is_one_line_that_names_it(self):
        unit, x = stpn.STPN(3, 4), torch.zeros(5, 2, 3)
        for error, words, call in (
                (TypeError, r"there is no option 'nrom' \(did you mean 'norm'\?\); there are input_size, "
                            ".*, rates, .*, decay_gate, norm, .*, activation$",
                 lambda: stpn.STPN(3, 4, nrom="pre")),
                (TypeError, r"STPN: .* 'update_gates' \(did you mean 'update_gate'\?\)",
                 lambda: stpn.STPN(3, 4, update_gates=True)),
                (TypeError, "STPNFeedforward: there is no option 'update_gate'",
                 lambda: stpn.STPNFeedforward(3, 4, update_gate=True)),
                (TypeError, "HebbFF: there is no option 'nix'; there are .*, plastic_bias",
                 lambda: stpn.HebbFF(3, 4, nix=1)),
                (TypeError, "HebbFF: there is no option 'rates'", lambda: stpn.HebbFF(3, 4, rates="synapse")),
                (TypeError, "^STPN: bidirectional is not supported",
                 lambda: stpn.STPN(3, 4, bidirectional=True)),
                (TypeError, "^FastWeights: proj_size is not supported",
                 lambda: stpn.FastWeights(3, 4, proj_size=2)),
                (ValueError, "norm is 'drive', which is now called 'preactivation'",
                 lambda: stpn.STPN(3, 4, norm="drive")),
                (ValueError, "^rates is 'source', which is now called 'presynaptic'",
                 lambda: stpn.STPN(3, 4, rates="source")),
                (ValueError, "clamp is -1.0, wants a number above 0", lambda: stpn.STPN(3, 4, clamp=-1.0)),
                (ValueError, "clamp is nan, wants", lambda: stpn.STPN(3, 4, clamp=float("nan"))),
                (TypeError, "x is float64 and the parameters are float32: pass x.float.., or call .double",
                 lambda: unit(x.double())),
                (TypeError, "x is float32 and the parameters are float64: pass x.double..",
                 lambda: stpn.STPN(3, 4).double()(pack_padded_sequence(x, [5, 3]))),
                (TypeError, "x is a ndarray, wants a torch.Tensor", lambda: unit(x.numpy())),
                (TypeError, "x is a ndarray, wants a torch.Tensor", lambda: stpn.STPNCell(3, 4)(x[0].numpy())),
                (ValueError, "most is -0.1, wants a number of at least 0",
                 lambda: unit.initial_state(2).bound_gradient(-0.1)),
                (ValueError, "norm is 'both', wants one of none, preactivation, pre, post",
                 lambda: stpn.STPN(3, 4, norm="both")),
                (ValueError, "rates is 'all', wants one of", lambda: stpn.STPN(3, 4, rates="all")),
                (ValueError, "hidden_size is 0", lambda: stpn.STPN(3, 0)),
                (ValueError, "inner_steps is 1.5, wants a whole number",
                 lambda: stpn.FastWeights(3, 4, inner_steps=1.5)),
                (TypeError, "clamp is 'much', wants a number",
                 lambda: stpn.STPN(3, 4, clamp="much")),
                (ValueError, "dtype is torch.bfloat16, wants torch.float32 or torch.float64",
                 lambda: stpn.STPN(3, 4, dtype=torch.bfloat16)),
                (ValueError, "x has 4 dimensions, wants 2 or 3", lambda: unit(x.unsqueeze(0))),
                (ValueError, "x has 5 inputs .* input_size = 3", lambda: unit(torch.zeros(3, 2, 5))),
                (ValueError, r"reset has shape \(2, 5\), wants \(5, 2\)",
                 lambda: unit(x, reset=torch.zeros(2, 5, dtype=torch.bool))),
                (ValueError, "lengths are from 0 to 5, want to be from 1 to T = 5",
                 lambda: unit(x, lengths=[0, 5])),
                (ValueError, r"of shape \(3,\), want to be integers of shape \(2,\)",
                 lambda: unit(x, lengths=[1, 2, 3])),
                (TypeError, r"state is a Tensor, wants to be \(h, F, beta\)",
                 lambda: unit(x, torch.zeros(1, 2, 4))),
                (ValueError, "left out of the energy are .3., which want to be from 0 to 2",
                 lambda: unit.leave_out_of_energy([3])),
                (RuntimeError, "h has shape .3, 4., wants", lambda: unit(x, unit.initial_state(3))),
        ):
            with self.subTest(words), self.assertRaisesRegex(error, words) as caught:
                call()
            self.assertNotIn("\n", str(caught.exception).strip())


if __name__ == "__main__":
    unittest.main()
