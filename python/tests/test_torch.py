"""The ops in what torch builds around ops: compilers, export, autocast, torch.func; and batches of odd
kinds: none, of several lengths, of other samples."""

import os
import subprocess
import sys
import textwrap
import unittest
import weakref

import torch
from stpn.ops import backpropamine, fast_weights, stpn_feedforward, stpn_recurrent
from torch._dynamo.testing import CompileCounter
from torch.export import Dim, export

I, H = 3, 4


def shapes(op):
    """Of the positional arguments, with "B" and "T" for the sizes of a batch."""
    return {
        stpn_recurrent: [("T", "B", I), ("B", H), ("B", H, I + H), (H, I + H), (H,), (H, I + H),
                         (H, I + H)],
        stpn_feedforward: [("T", "B", I), ("B", H, I), (H, I), (H,), (H, I), (H, I)],
        fast_weights: [("T", "B", I), ("B", H), ("B", H, H), (H, I + H), (H,)],
        backpropamine: [("T", "B", I), ("B", H), ("B", H, H), (H, I), (H,), (H, H), (H, H)],
    }[op]


OPS = [stpn_recurrent, stpn_feedforward, fast_weights, backpropamine]


def constants(op, dtype=torch.float32):
    if op is not backpropamine:
        return {}
    return {"modulator_weight": torch.linspace(-1, 1, H, dtype=dtype),
            "modulator_bias": torch.full((1,), 0.3, dtype=dtype)}


def arguments(op, T=5, B=2, seed=1, dtype=torch.float32, requires_grad=True):
    generator = torch.Generator().manual_seed(seed)
    sizes = {"T": T, "B": B}
    return [torch.randn([sizes.get(size, size) for size in shape], generator=generator,
                        dtype=dtype, requires_grad=requires_grad) for shape in shapes(op)]


def loss_of(op):
    def loss(*given):
        results = op(*given, **constants(op, given[0].dtype), energy=True)
        return sum(result.sin().sum() for result in results)

    return loss


def for_each_op(test):
    """The test(self, op) as one for all ops."""
    def run(self):
        for op in OPS:
            with self.subTest(op._qualified_op_name):
                test(self, op)

    return run


class EveryOp(unittest.TestCase):
    def assert_same(self, ours, theirs):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


class TracedTest(EveryOp):
    @for_each_op
    def test_compiles_once_for_all_lengths_and_batches(self, op):
        torch._dynamo.reset()
        counter = CompileCounter()
        graph = torch.compile(loss_of(op), backend=counter, dynamic=True, fullgraph=True)
        inductor = torch.compile(loss_of(op), dynamic=True, fullgraph=True)
        for T, B in ((11, 13), (6, 5), (17, 37), (9, 2)):
            given = arguments(op, T, B)
            want = torch.autograd.grad(loss_of(op)(*given), given)
            self.assert_same(torch.autograd.grad(graph(*given), given), want)
            # The compiler's own sines and sums round in other ways.
            torch.testing.assert_close(torch.autograd.grad(inductor(*given), given), want,
                                       rtol=1e-4, atol=1e-5)
        self.assertEqual(counter.frame_count, 1)

    @for_each_op
    def test_exports_with_dynamic_time_and_batch(self, op):
        class Model(torch.nn.Module):
            def __init__(self, op):
                super().__init__()
                self.op = op

            def forward(self, *given):
                return self.op(*given, **constants(self.op), energy=True)

        dims = {"T": Dim("T", min=2), "B": Dim("B", min=2)}
        dynamic = tuple({k: dims[size] for k, size in enumerate(shape) if size in dims} or None
                        for shape in shapes(op))
        given = tuple(arguments(op, 5, 6, requires_grad=False))
        exported = export(Model(op), given, dynamic_shapes={"given": dynamic}).module()
        for T, B in ((5, 6), (9, 2), (2, 33)):
            other = arguments(op, T, B, requires_grad=False)
            self.assert_same(exported(*other), Model(op)(*other))

    @for_each_op
    def test_autocast_runs_in_float(self, op):
        given = arguments(op)
        want = op(*given, **constants(op))
        half = [tensor.detach().bfloat16().requires_grad_() for tensor in given]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            self.assert_same(op(*given, **constants(op)), want)
            results = op(*half, **constants(op))
        self.assertEqual({result.dtype for result in results}, {torch.float32})
        gradients = torch.autograd.grad(results[0].sum(), half)
        self.assertEqual({gradient.dtype for gradient in gradients}, {torch.bfloat16})


class FunctionTest(EveryOp):
    @for_each_op
    def test_grad_vmap_and_jacrev_are_those_of_a_loop(self, op):
        given = arguments(op, requires_grad=False)
        x, *rest = given
        leaf = x.clone().requires_grad_()
        want = torch.autograd.grad(loss_of(op)(leaf, *rest), leaf)[0]
        grad = torch.func.grad(loss_of(op))
        self.assert_same(grad(*given), want)

        several = torch.stack([x, x + 1, 2 * x])
        constant = (None,) * len(rest)
        of_each = torch.stack([grad(one, *rest) for one in several])
        # A batch of torch's own products, for the energy, rounds in another way than each alone.
        torch.testing.assert_close(torch.func.vmap(grad, (0, *constant))(several, *rest), of_each,
                                   rtol=1e-4, atol=1e-5)

        def last(x):
            return op(x, *rest, **constants(op))[0][-1]

        jacobian = torch.func.jacrev(last)(x)
        rows = [torch.autograd.grad(value, leaf, retain_graph=True)[0]
                for value in last(leaf).flatten()]
        self.assert_same(jacobian.reshape(len(rows), *x.shape), torch.stack(rows))

    @for_each_op
    def test_batches_of_gradients(self, op):
        given = arguments(op)
        output = op(*given, **constants(op))[0]
        several = torch.randn(3, *output.shape)
        batched = torch.autograd.grad(output, given, several, retain_graph=True,
                                      is_grads_batched=True)
        one_by_one = [torch.autograd.grad(output, given, one, retain_graph=True)
                      for one in several]
        for ours, *theirs in zip(batched, *one_by_one):
            self.assert_same(ours, torch.stack(theirs))

    @for_each_op
    def test_second_derivatives_are_refused_by_name(self, op):
        given = arguments(op, requires_grad=False)
        name = op._qualified_op_name.partition("::")[2]

        def norm(*given):
            return torch.func.grad(loss_of(op))(*given).square().sum()

        with self.assertRaisesRegex(RuntimeError, f"{name}: second derivatives"):
            torch.func.grad(norm)(*given)
        with self.assertRaisesRegex(RuntimeError, f"{name}: .* forward-mode"):
            torch.func.jvp(loss_of(op), tuple(given), tuple(given))


class BatchTest(EveryOp):
    @for_each_op
    def test_an_empty_batch_has_empty_results_and_no_gradient(self, op):
        given = arguments(op, B=0)
        results = op(*given, **constants(op), energy=True)
        self.assertEqual(results[0].shape, (5, 0, H))
        self.assertEqual(results[-1].shape, (5, 0, H))
        for gradient in torch.autograd.grad(results[0].sum(), given):
            self.assertTrue((gradient == 0).all())

    @for_each_op
    def test_sequences_of_several_lengths_end_together(self, op):
        lengths = [5, 2, 4]
        T = max(lengths)
        given = arguments(op, T, len(lengths), dtype=torch.float64, requires_grad=False)
        reset = torch.zeros(T, len(lengths), dtype=torch.bool)
        for b, length in enumerate(lengths):
            reset[T - length, b] = True
        results = op(*given, **constants(op, torch.float64), reset=reset)
        for b, length in enumerate(lengths):
            alone = [tensor[:, b:b + 1] if k == 0 else tensor[b:b + 1]
                     if "B" in shapes(op)[k] else tensor for k, tensor in enumerate(given)]
            alone[0] = alone[0][T - length:]
            alone[1:] = [torch.zeros_like(tensor) if "B" in shapes(op)[k + 1] else tensor
                         for k, tensor in enumerate(alone[1:])]
            want = op(*alone, **constants(op, torch.float64))
            torch.testing.assert_close(results[0][-1, b], want[0][-1, 0])
            torch.testing.assert_close(results[1][b], want[1][0])

    @for_each_op
    def test_a_copy_of_h_lets_go_of_the_output(self, op):
        output = op(*arguments(op, requires_grad=False), **constants(op))[0]
        storage = weakref.ref(output.untyped_storage())
        h = output[-1].clone()
        del output
        self.assertIsNone(storage())
        self.assertEqual(h.untyped_storage().nbytes(), h.numel() * 4)

    def test_one_backend_gives_a_sample_the_same_bits_in_any_batch(self):
        program = textwrap.dedent("""
            import sys
            sys.path.insert(0, sys.argv[1])
            import torch
            import test_torch
            from test_torch import OPS, arguments, constants, shapes

            test_torch.I, test_torch.H = 19, 21  # rows of several vectors
            for op in OPS:
                bits = []
                for B, place, other in ((1, 0, 1), (2, 1, 1), (5, 4, 1), (37, 30, 1), (64, 0, 0)):
                    whole = arguments(op, 9, 64, requires_grad=False)
                    whole[0][:, 1:] *= other  # the rest of the batch
                    order = list(range(1, B))
                    order.insert(place, 0)
                    dims = [shape.index("B") if "B" in shape else None for shape in shapes(op)]
                    batch = [(tensor if dim is None else tensor.index_select(dim, torch.tensor(order)))
                             .requires_grad_() for tensor, dim in zip(whole, dims)]
                    # The energy of weights that do not change is a product of torch's own.
                    energy = "stpn_" in op._qualified_op_name
                    results = op(*batch, **constants(op), energy=energy)
                    loss = sum(result.sin().sum() for result in results)
                    inputs = [tensor for tensor, dim in zip(batch, dims) if dim is not None]
                    gradients = torch.autograd.grad(loss, inputs)
                    bits.append([results[0][:, place], results[1][place], gradients[0][:, place],
                                 *[gradient[place] for gradient in gradients[1:]]])
                print(all(torch.equal(ours, alone) for one in bits for ours, alone in zip(one, bits[0])))
        """)
        seen = {backend: subprocess.run(
            [sys.executable, "-c", program, os.path.dirname(os.path.abspath(__file__))],
            env={**os.environ, "STPN_BACKEND": backend}, check=True, capture_output=True,
            text=True).stdout.split() for backend in ("batch_invariant", "cpu")}
        self.assertEqual(seen["batch_invariant"], ["True"] * len(OPS))
        self.assertIn("False", seen["cpu"])  # else the test would show nothing


if __name__ == "__main__":
    unittest.main()
