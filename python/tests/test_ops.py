"""The ops from Python, checked against their equations in torch's own operations."""

import os
import subprocess
import sys
import unittest
from pathlib import Path

import torch
from stpn.ops import backpropamine, describe, fast_weights, stpn_feedforward, stpn_recurrent


def equations(x, h, F, weight, bias, decay, growth):
    outputs = []
    for x_t in x:
        z = torch.cat([x_t, h], dim=1)
        G = weight + F
        n = G.norm(dim=2, keepdim=True) + 1e-16
        h = torch.tanh(((G / n) @ z.unsqueeze(2)).squeeze(2) + bias)
        F = decay * F / n + growth * h.unsqueeze(2) * z.unsqueeze(1)
        outputs.append(h)
    return torch.stack(outputs), F


def arguments(T=7, B=3, I=2, H=5):
    generator = torch.Generator().manual_seed(1)
    shapes = [(T, B, I), (B, H), (B, H, I + H), (H, I + H), (H,), (H, I + H), (H, I + H)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
            for shape in shapes]


def results_of(op, *given, **options):
    """All results of the op that the variant has, with the energy."""
    return [result for result in op(*given, **options, energy=True) if result.numel() > 0]


class OpTest(unittest.TestCase):
    def test_matches_the_equations(self):
        given = arguments()
        output, F, beta, energy = stpn_recurrent(*given)
        expected_output, expected_F = equations(*given)
        torch.testing.assert_close(output, expected_output)
        torch.testing.assert_close(F, expected_F)
        self.assertEqual(beta.numel(), 0)
        self.assertEqual(energy.numel(), 0)

    def test_every_gradient_matches_the_equations(self):
        given = arguments()
        gradients = []
        for function in (stpn_recurrent, equations):
            output, F = function(*given)[:2]
            loss = output.cos().sum() + F.sin().sum()
            gradients.append(torch.autograd.grad(loss, given))
        for ours, theirs in zip(*gradients):
            torch.testing.assert_close(ours, theirs)

    def test_states_of_none_are_zeros(self):
        x, h, F, *rest = arguments()
        gate = torch.rand_like(rest[0])
        results = []
        for states in ((torch.zeros_like(h), torch.zeros_like(F)), (None, None)):
            output, F, _, energy = stpn_recurrent(x, *states, *rest, update_weight=gate,
                                                  energy=True)
            loss = output.cos().sum() + F.sin().sum() + energy.sum()
            results.append([output, F, energy, *torch.autograd.grad(loss, [x, *rest])])
        for absent, zeros in zip(*results):
            torch.testing.assert_close(absent, zeros, rtol=0, atol=0)
        torch.library.opcheck(torch.ops.stpn.stpn_recurrent.default, (x, None, None, *rest))

    def test_takes_inputs_that_are_not_contiguous(self):
        x, *rest = arguments()
        batch_first = x.transpose(0, 1).contiguous()
        expected = stpn_recurrent(x, *rest)
        given = stpn_recurrent(batch_first.transpose(0, 1), *rest)
        torch.testing.assert_close(given[0], expected[0], rtol=0, atol=0)

    def test_rejects_a_wrong_shape(self):
        x, h, F, *rest = arguments()
        with self.assertRaisesRegex(RuntimeError, "F has shape"):
            stpn_recurrent(x, h, F[:, :, 1:], *rest)
        with self.assertRaisesRegex(RuntimeError, r"h has shape \[3, 5\], .* is it batch first?"):
            stpn_recurrent(x.transpose(0, 1), h, F, *rest)


class ContractTest(unittest.TestCase):
    """PyTorch's own checks of an op (opcheck, gradcheck), for many variants."""

    VARIANTS = [{}, {"norm": "post", "clamp": 1.0}, {"norm": "none", "clamp": 0.2},
                {"norm": "preactivation", "clamp": 1.0}, {"presynaptic": "current"},
                {"norm": "none", "rule": "oja"}, {"rule": "delta"},
                {"decay": "after_update", "activation": "sigmoid"}]

    def test_opcheck(self):
        for variant in self.VARIANTS:
            with self.subTest(variant):
                torch.library.opcheck(stpn_recurrent, arguments(T=4), {**variant, "energy": True})

    def test_gradcheck(self):
        for variant in self.VARIANTS:
            with self.subTest(variant):
                torch.autograd.gradcheck(
                    lambda *given: results_of(stpn_recurrent, *given, **variant),
                    arguments(T=4, B=2, H=2))

    def test_gradcheck_with_every_optional_tensor(self):
        def draw(*shape):
            return (torch.rand(shape, dtype=torch.float64) - 0.5).requires_grad_()

        def op(x, h, F, weight, bias, decay, growth, beta, bias_lambda, bias_gamma, gain, offset):
            return results_of(stpn_recurrent, x, h, F, weight, bias, decay, growth, beta=beta,
                              bias_lambda=bias_lambda, bias_gamma=bias_gamma,
                              layer_norm_weight=gain, layer_norm_bias=offset)

        torch.manual_seed(3)
        # Three neurons, because layer norm over two gives little more than a sign.
        given = arguments(T=3, B=2, H=3) + [draw(2, 3), draw(3), draw(3), draw(3), draw(3)]
        torch.autograd.gradcheck(op, given)

    def test_gradcheck_with_gates(self):
        def draw(*shape):
            return (torch.rand(shape, dtype=torch.float64) - 0.5).requires_grad_()

        def op(x, h, F, weight, bias, decay, growth, update, update_bias, write, keep):
            return results_of(stpn_recurrent, x, h, F, weight, bias, decay, growth,
                              update_weight=update, update_bias=update_bias, write_weight=write,
                              decay_weight=keep)

        torch.manual_seed(3)
        given = arguments(T=3, B=2, H=3) + [draw(3, 5), draw(3), draw(3, 2), draw(3, 2)]
        torch.autograd.gradcheck(op, given)

    def test_second_derivatives_are_refused(self):
        given = arguments()
        loss = stpn_recurrent(*given)[0].sum()
        (gradient,) = torch.autograd.grad(loss, given[0], create_graph=True)
        with self.assertRaisesRegex(RuntimeError, "second derivatives are not implemented"):
            gradient.sum().backward()

    def test_forward_mode_is_refused(self):
        x, *rest = [tensor.detach() for tensor in arguments()]
        with torch.autograd.forward_ad.dual_level():
            x = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
            with self.assertRaisesRegex(RuntimeError, "forward-mode differentiation is not"):
                stpn_recurrent(x, *rest)

    def test_backward_twice_gives_the_same_bits_if_the_graph_is_retained(self):
        given = arguments()
        loss = stpn_recurrent(*given)[0].cos().sum()
        first = torch.autograd.grad(loss, given, retain_graph=True)
        for one, other in zip(first, torch.autograd.grad(loss, given)):
            torch.testing.assert_close(one, other, rtol=0, atol=0)
        with self.assertRaisesRegex(RuntimeError, "backward through the graph a second time"):
            torch.autograd.grad(loss, given)

    def test_gradients_of_some_inputs_are_those_of_all(self):
        given = arguments()
        weight, x = given[3], given[0]
        every = torch.autograd.grad(stpn_recurrent(*given)[0].cos().sum(), given)
        some = torch.autograd.grad(stpn_recurrent(*given)[0].cos().sum(), [weight, x])
        torch.testing.assert_close(some, (every[3], every[0]), rtol=0, atol=0)
        constant = [tensor.detach() for tensor in given]
        constant[3] = weight
        (alone,) = torch.autograd.grad(stpn_recurrent(*constant)[0].cos().sum(), [weight])
        torch.testing.assert_close(alone, every[3], rtol=0, atol=0)

    def test_a_loss_of_the_final_state_alone_has_gradients(self):
        given = arguments()
        losses = [function(*given)[1].sin().sum() for function in (stpn_recurrent, equations)]
        for ours, theirs in zip(*[torch.autograd.grad(loss, given) for loss in losses]):
            torch.testing.assert_close(ours, theirs)

    def test_what_backward_needs_may_not_change_in_place(self):
        for change in (lambda given, output: given[3].add_(1), lambda given, output: output.mul_(2)):
            given = arguments()
            output = stpn_recurrent(*given)[0]
            loss = output.sum()
            with torch.no_grad():
                change(given, output)
            with self.assertRaisesRegex(RuntimeError, "modified by an inplace operation"):
                loss.backward()

    def test_nothing_is_differentiable_without_grad_mode(self):
        with torch.no_grad():
            self.assertFalse(stpn_recurrent(*arguments())[0].requires_grad)

    def test_shape_inference_needs_no_data(self):
        given = [tensor.to("meta") for tensor in arguments()]
        output, F, _, energy = stpn_recurrent(*given, energy=True)
        self.assertEqual((output.shape, F.shape, energy.shape), ((7, 3, 5), (3, 5, 7), (7, 3, 5)))


class FastWeightsTest(unittest.TestCase):
    VARIANTS = [{}, {"inner_steps": 3}, {"decay": 0.6, "rate": -0.4, "inner_steps": 2}]

    @staticmethod
    def equations(x, h, A, weight, bias, gain=None, offset=None, *, inner_steps=1, decay=0.9,
                  rate=0.5):
        def activity(u):
            if gain is not None:
                u = torch.nn.functional.layer_norm(u, u.shape[1:], gain, offset)
            return torch.tanh(u)

        outputs = []
        for x_t in x:
            A = decay * A + rate * h.unsqueeze(2) * h.unsqueeze(1)
            p = torch.cat([x_t, h], dim=1) @ weight.T + bias
            s = activity(p)
            for _ in range(inner_steps):
                s = activity(p + (A @ s.unsqueeze(2)).squeeze(2))
            h = s
            outputs.append(h)
        return torch.stack(outputs), A

    @staticmethod
    def op(x, h, A, weight, bias, gain=None, offset=None, **options):
        return fast_weights(x, h, A, weight, bias, layer_norm_weight=gain, layer_norm_bias=offset,
                            **options)

    @staticmethod
    def arguments(layer_norm, T=6, B=3, I=2, H=5):
        generator = torch.Generator().manual_seed(1)
        shapes = [(T, B, I), (B, H), (B, H, H), (H, I + H), (H,)] + [(H,), (H,)] * layer_norm
        return [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
                for shape in shapes]

    def test_results_and_gradients_match_the_equations(self):
        for options in self.VARIANTS:
            for layer_norm in (False, True):
                with self.subTest(options, layer_norm=layer_norm):
                    given = self.arguments(layer_norm)
                    results = []
                    for function in (self.op, self.equations):
                        output, A = function(*given, **options)[:2]
                        loss = output.cos().sum() + A.sin().sum()
                        results.append([output, A, *torch.autograd.grad(loss, given)])
                    for ours, theirs in zip(*results):
                        torch.testing.assert_close(ours, theirs)

    def test_opcheck(self):
        for options in self.VARIANTS:
            with self.subTest(options):
                *given, gain, offset = self.arguments(True, T=4)
                torch.library.opcheck(fast_weights, given,
                                      {**options, "layer_norm_weight": gain,
                                       "layer_norm_bias": offset, "energy": True})

    def test_gradcheck(self):
        for options in self.VARIANTS:
            with self.subTest(options):
                torch.autograd.gradcheck(
                    lambda *given: results_of(self.op, *given, **options),
                    self.arguments(True, T=3, B=2, H=3))

    def test_energy_counts_slow_and_fast_weights(self):
        x, h, A, weight, bias = (tensor.detach() for tensor in self.arguments(False, T=1))
        energy = fast_weights(x, h, A, weight, bias, energy=True)[2]
        z = torch.cat([x[0], h], dim=1)
        A = 0.9 * A + 0.5 * h.unsqueeze(2) * h.unsqueeze(1)
        s = torch.tanh(z @ weight.T + bias)
        expected = z**2 @ weight.abs().T + (A.abs() @ (s**2).unsqueeze(2)).squeeze(2)
        torch.testing.assert_close(energy[0], expected)

    def test_rejects_a_wrong_shape(self):
        x, h, A, weight, bias = self.arguments(False)
        with self.assertRaisesRegex(RuntimeError, "x has shape .* I follows from the weights"):
            fast_weights(x, h, A, weight[:, 1:], bias)
        with self.assertRaisesRegex(RuntimeError, "A has shape"):
            fast_weights(x, h, A[:, 1:], weight, bias)


class BackpropamineTest(unittest.TestCase):
    VARIANTS = [{}, {"addition": "soft_clamp", "modulator": "sigmoid"},
                {"neuromodulation": "plastic", "addition": "decaying"},
                {"neuromodulation": "modul"},
                {"neuromodulation": "modul", "addition": "soft_clamp", "modulator": "linear"},
                {"neuromodulation": "modul", "addition": "additive"}]
    ACTIVATIONS = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "linear": lambda u: u}

    @classmethod
    def equations(cls, x, h, P, weight_ih, bias, weight_hh, alpha, *, E=None, modulator_weight=None,
                  modulator_bias=None, rate=None, neuromodulation="modplast", addition="clamp",
                  modulator="tanh"):
        outputs = []
        for x_t in x:
            before = h
            recurrent = ((weight_hh + alpha * P) @ before.unsqueeze(2)).squeeze(2)
            h = torch.tanh(x_t @ weight_ih.T + bias + recurrent)
            D = h.unsqueeze(2) * before.unsqueeze(1)
            m = rate
            if neuromodulation != "plastic":
                m = cls.ACTIVATIONS[modulator](h @ modulator_weight + modulator_bias).view(-1, 1, 1)
            d = m * (E if neuromodulation == "modul" else D)
            if addition == "clamp":
                P = (P + d).clamp(-1, 1)
            elif addition == "soft_clamp":
                bound = 0.99999 if neuromodulation == "modul" else 1
                P = (P + d.clamp(min=0) * (1 - P) + d.clamp(max=0) * (P + 1)).clamp(-bound, bound)
            elif addition == "additive":
                P = P + d
            else:
                P = (1 - m) * P + d
            if neuromodulation == "modul":
                E = (1 - rate) * E + rate * D
            outputs.append(h)
        return (torch.stack(outputs), P) + ((E,) if neuromodulation == "modul" else ())

    @staticmethod
    def arguments(variant, T=6, B=3, I=2, H=5):
        """The positional arguments, and the named ones that the variant needs."""
        generator = torch.Generator().manual_seed(1)

        def draw(*shape):
            values = torch.rand(shape, generator=generator, dtype=torch.float64)
            return (1.6 * values - 0.8).requires_grad_()

        given = [draw(T, B, I), draw(B, H), draw(B, H, H), draw(H, I), draw(H), draw(H, H),
                 draw(H, H)]
        neuromodulation = variant.get("neuromodulation", "modplast")
        named = {}
        if neuromodulation != "plastic":
            named |= {"modulator_weight": draw(H), "modulator_bias": draw(1)}
        if neuromodulation != "modplast":
            named |= {"rate": draw(1)}
        if neuromodulation == "modul":
            named |= {"E": draw(B, H, H)}
        return given, named

    def test_results_and_gradients_match_the_equations(self):
        for variant in self.VARIANTS:
            with self.subTest(variant):
                given, named = self.arguments(variant)
                results = []
                for function in (backpropamine, self.equations):
                    states = function(*given, **named, **variant)[:2 + ("E" in named)]
                    loss = sum(state.sin().sum() for state in states)
                    inputs = [*given, *named.values()]
                    results.append([*states, *torch.autograd.grad(loss, inputs)])
                for ours, theirs in zip(*results):
                    torch.testing.assert_close(ours, theirs)

    def test_opcheck(self):
        for variant in self.VARIANTS:
            with self.subTest(variant):
                given, named = self.arguments(variant, T=4)
                torch.library.opcheck(backpropamine, given, {**named, **variant, "energy": True})

    def test_gradcheck(self):
        for variant in self.VARIANTS:
            with self.subTest(variant):
                given, named = self.arguments(variant, T=3, B=2, H=3)

                def op(*tensors):
                    by_name = dict(zip(named, tensors[len(given):]))
                    return results_of(backpropamine, *tensors[:len(given)], **by_name, **variant)

                torch.autograd.gradcheck(op, [*given, *named.values()])

    def test_energy_counts_inputs_and_recurrent_synapses(self):
        given, named = self.arguments({}, T=1)
        measured = torch.tensor([1.0, 0.0], dtype=torch.float64)
        energy = backpropamine(*given, **named, energy=True, measured=measured)[3]
        x, h, P, weight_ih, _, weight_hh, alpha = given
        recurrent = (weight_hh + alpha * P).abs() @ (h**2).unsqueeze(2)
        expected = (x[0] ** 2 * measured) @ weight_ih.abs().T + recurrent.squeeze(2)
        torch.testing.assert_close(energy[0], expected)
        self.assertTrue(energy.requires_grad)

    def test_says_what_a_variant_wants(self):
        given, named = self.arguments({})
        with self.assertRaisesRegex(RuntimeError, "modulator_weight is missing"):
            backpropamine(*given)
        with self.assertRaisesRegex(RuntimeError, "modulator_weight is given"):
            backpropamine(*given, **named, rate=given[4][:1], neuromodulation="plastic")
        with self.assertRaisesRegex(RuntimeError, "x has shape .* I follows from the weights"):
            backpropamine(*given[:3], given[3].T, *given[4:], **named)


class FeedforwardTest(unittest.TestCase):
    VARIANTS = [{}, {"norm": "preactivation"}, {"norm": "post", "clamp": 1.0},
                {"norm": "preactivation", "rule": "oja"},
                {"norm": "none", "clamp": 0.2, "activation": "sigmoid"}]

    @staticmethod
    def equations(x, F, weight, bias, decay, growth, *, norm):
        outputs = []
        for x_t in x:
            G = weight + F
            n = G.norm(dim=2, keepdim=True) + 1e-16 if norm != "none" else torch.ones(())
            h = torch.tanh((G / n @ x_t.unsqueeze(2)).squeeze(2) + bias)
            old_F = F / n if norm == "pre" else F
            F = decay * old_F + growth * h.unsqueeze(2) * x_t.unsqueeze(1)
            if norm == "post":
                F = F / ((weight + F).norm(dim=2, keepdim=True) + 1e-16)
            outputs.append(h)
        return torch.stack(outputs), F

    @staticmethod
    def arguments(T=6, B=3, I=3, H=5):
        generator = torch.Generator().manual_seed(1)
        shapes = [(T, B, I), (B, H, I), (H, I), (H,), (H, I), (H, I)]
        return [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
                for shape in shapes]

    def test_results_and_gradients_match_the_equations(self):
        for norm in ("none", "preactivation", "pre", "post"):
            with self.subTest(norm):
                given = self.arguments()
                results = []
                for function in (stpn_feedforward, self.equations):
                    output, F = function(*given, norm=norm)[:2]
                    loss = output.cos().sum() + F.sin().sum()
                    results.append([output, F, *torch.autograd.grad(loss, given)])
                for ours, theirs in zip(*results):
                    torch.testing.assert_close(ours, theirs)

    def test_opcheck(self):
        for variant in self.VARIANTS:
            with self.subTest(variant):
                torch.library.opcheck(stpn_feedforward, self.arguments(T=4),
                                      {**variant, "energy": True})

    def test_gradcheck(self):
        for variant in self.VARIANTS:
            with self.subTest(variant):
                torch.autograd.gradcheck(
                    lambda *given: results_of(stpn_feedforward, *given, **variant),
                    self.arguments(T=3, B=2, H=2))

    def test_shape_inference_needs_no_data(self):
        given = [tensor.to("meta") for tensor in self.arguments()]
        output, F, _, energy = stpn_feedforward(*given, energy=True)
        self.assertEqual((output.shape, F.shape, energy.shape), ((6, 3, 5), (3, 5, 3), (6, 3, 5)))

    def test_rejects_weights_of_recurrent_synapses(self):
        x, F, weight, *rest = self.arguments()
        with self.assertRaisesRegex(RuntimeError, "stpn_feedforward: x has shape"):
            stpn_feedforward(x, F, torch.cat([weight, weight], dim=1), *rest)


class DescriptionTest(unittest.TestCase):
    NAMES = ["stpn_recurrent", "stpn_feedforward", "backpropamine", "fast_weights"]

    def test_the_page_of_ops_is_what_the_ops_say(self):
        page = (Path(__file__).resolve().parents[2] / "docs/ops.md").read_text()
        for name in self.NAMES:
            self.assertIn("```\n" + describe(name) + "```\n", page,
                          "docs/ops.md: put in what `stpn list ops` prints")

    def test_each_is_the_schema_that_is_registered(self):
        for name in self.NAMES:
            described = torch._C.parse_schema(describe(name).splitlines()[0])
            self.assertEqual(str(getattr(torch.ops.stpn, name).default._schema), str(described))

    def test_an_unknown_op_is_refused(self):
        with self.assertRaisesRegex(RuntimeError, "there is no op"):
            describe("lstm")


class ImportTest(unittest.TestCase):
    def test_a_missing_library_says_what_to_do(self):
        run = subprocess.run([sys.executable, "-c", "import stpn.ops"], capture_output=True,
                             text=True, env=os.environ | {"STPN_OPS": "/nowhere/libstpn_ops.so"})
        self.assertNotEqual(run.returncode, 0)
        self.assertIn("ImportError: no op library at /nowhere/libstpn_ops.so", run.stderr)


if __name__ == "__main__":
    unittest.main()
