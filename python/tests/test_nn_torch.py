"""The modules in what torch builds around modules: compilers, export, torch.func, autocast, processes."""

import os
import signal
import unittest

import stpn
import torch
from torch._dynamo.testing import CompileCounter
from torch.export import Dim, export

I, H = 3, 5
UNITS = [stpn.STPN, stpn.STPNFeedforward, stpn.HebbFF, stpn.FastWeights, stpn.Backpropamine]


def for_each_unit(test):
    """The test(self, unit) as one for all units, of two layers and batch first."""
    def run(self):
        for unit_type in UNITS:
            with self.subTest(unit_type.__name__):
                torch.manual_seed(1)
                test(self, unit_type(I, H, num_layers=2, batch_first=True))

    return run


def dynamic(state, B):
    """The dynamic shapes of a state."""
    return type(state)(*[None if field is None else tuple({0: B} for _ in field)
                         if isinstance(field, tuple) else {1: B} for field in state])


class TracedTest(unittest.TestCase):
    @for_each_unit
    def test_compiles_without_a_graph_break(self, unit):
        for dynamic_sizes, graphs in ((True, 1), (False, 3)):
            torch._dynamo.reset()
            counter = CompileCounter()
            compiled = torch.compile(unit, backend=counter, fullgraph=True, dynamic=dynamic_sizes)
            for T, B in ((7, 4), (6, 5), (9, 2)):
                x, state = torch.randn(B, T, I), unit(torch.randn(B, 2, I))[1].detach()
                reset = torch.rand(B, T) < 0.2
                ours = compiled(x, state, reset=reset, energy=True)
                want = unit(x, state, reset=reset, energy=True)
                self.assertIs(type(ours[1]), type(want[1]))
                torch.testing.assert_close(ours, want, rtol=0, atol=0)
            self.assertEqual(counter.frame_count, graphs)

    def test_inductor_gives_the_same_gradients(self):
        torch._dynamo.reset()
        unit, x = stpn.STPN(I, H, batch_first=True), torch.randn(4, 7, I)
        compiled = torch.compile(unit, fullgraph=True, dynamic=True)
        gradients = [torch.autograd.grad(run(x)[0].square().sum(), list(unit.parameters()))
                     for run in (compiled, unit)]
        torch.testing.assert_close(*gradients)

    @for_each_unit
    def test_exports_with_dynamic_time_and_batch(self, unit):
        T, B = Dim("T", min=2), Dim("B", min=2)
        x, state = torch.randn(4, 6, I), unit(torch.randn(4, 2, I))[1].detach()
        exported = export(unit, (x, state),
                          dynamic_shapes=({0: B, 1: T}, dynamic(state, B))).module()
        for batch, steps in ((4, 6), (2, 11), (33, 2)):
            x, state = torch.randn(batch, steps, I), unit(torch.randn(batch, 2, I))[1].detach()
            torch.testing.assert_close(exported(x, state), unit(x, state), rtol=0, atol=0)


class FunctionTest(unittest.TestCase):
    @for_each_unit
    def test_gradients_of_each_sample(self, unit):
        parameters = dict(unit.named_parameters())
        several = torch.randn(3, 2, 6, I)

        def loss(parameters, x):
            return torch.func.functional_call(unit, parameters, (x,))[0].square().sum()

        of_each = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, several)
        for k, x in enumerate(several):
            want = torch.autograd.grad(unit(x)[0].square().sum(), list(parameters.values()))
            for (name, gradients), one in zip(of_each.items(), want):
                torch.testing.assert_close(gradients[k], one, msg=name)

    def test_gradcheck(self):
        for unit_type in UNITS:
            with self.subTest(unit_type.__name__):
                torch.manual_seed(2)
                unit = unit_type(2, 3, num_layers=2, dtype=torch.float64)
                names = [name for name, _ in unit.named_parameters()]
                state = unit(torch.randn(2, 2, 2, dtype=torch.float64))[1].detach()

                def run(x, *parameters, unit=unit, names=names, state=state):
                    output, after, energy = torch.func.functional_call(
                        unit, dict(zip(names, parameters)), (x, state),
                        {"energy": True, "lengths": [3, 2]})
                    fast = next(field for field in after if isinstance(field, tuple))
                    return output, fast[-1], energy

                torch.autograd.gradcheck(run, (
                    torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True),
                    *[parameter.detach().requires_grad_() for parameter in unit.parameters()]))


class ModeTest(unittest.TestCase):
    @for_each_unit
    def test_autocast_takes_bfloat16_and_keeps_states_in_float(self, unit):
        x = torch.randn(2, 6, I).bfloat16()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output, state = unit(x)
        torch.testing.assert_close((output, state), unit(x.float()))
        with self.assertRaisesRegex(RuntimeError, "x is BFloat16, wants float or double"):
            unit(x)

    @for_each_unit
    def test_without_gradients_nothing_is_saved_for_backward(self, unit):
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor,
                                                      lambda tensor: tensor):
            for mode in (torch.inference_mode, torch.no_grad):
                with mode():
                    output, state = unit(torch.randn(2, 6, I))
                self.assertIsNone(output.grad_fn)
            self.assertEqual(saved, [])
            unit(torch.randn(2, 6, I))
            self.assertNotEqual(saved, [])  # else the test would show nothing

    def test_states_have_the_dtype_of_the_parameters(self):
        unit = stpn.STPN(I, H).double()
        self.assertEqual(unit(torch.randn(4, 2, I).double())[1].F[0].dtype, torch.float64)
        self.assertEqual(stpn.STPN(I, H, device="meta")(torch.zeros(4, 2, I, device="meta"))[0].shape,
                         (4, 2, H))


class Computes(torch.utils.data.Dataset):
    """A data set whose items are outputs of a unit."""

    def __init__(self, unit, x):
        self.unit, self.x = unit, x

    def __len__(self):
        return 4

    def __getitem__(self, index):
        with torch.no_grad():
            return self.unit(self.x)[0]


class ProcessTest(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(1)
        self.unit, self.x = stpn.STPN(20, 40), torch.randn(12, 64, 20)
        threads = torch.get_num_threads()
        self.addCleanup(torch.set_num_threads, threads)
        torch.set_num_threads(2)
        self.want = self.unit(self.x)[0]  # on two threads, if there are two
        self.want.sum().backward()

    def test_workers_of_a_data_loader_run_units(self):
        loader = torch.utils.data.DataLoader(Computes(self.unit, self.x), num_workers=2, timeout=60)
        for output in loader:
            torch.testing.assert_close(output[0], self.want, rtol=0, atol=0)

    def test_a_fork_after_use_runs_units(self):
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # ends a child that waits for threads it does not have
            torch.set_num_threads(1)  # as a DataLoader's worker does
            output = self.unit(self.x)[0]
            output.sum().backward()
            os._exit(0 if torch.equal(output, self.want) else 1)
        self.assertEqual(os.waitpid(child, 0)[1], 0)


if __name__ == "__main__":
    unittest.main()
