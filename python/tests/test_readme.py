"""The Python code in the README, in docs/python.md and docs/ops.md does what they say."""

import contextlib
import re
import sys
import tempfile
import types
import unittest
import unittest.mock
from pathlib import Path

import stpn
import torch

CHECKOUT = Path(__file__).resolve().parents[2]


def text_of(page):
    return (CHECKOUT / page).read_text()


def python_in(page):
    return re.findall(r"```python\n(.*?)```", text_of(page), re.DOTALL)


class ReadmeTest(unittest.TestCase):
    def test_the_program_learns_to_recall(self):
        (program,) = python_in("README.md")
        names = {}
        torch.manual_seed(1)
        exec(compile(program, "README.md", "exec"), names)  # prints the accuracy
        self.assertGreaterEqual(names["accuracy"], 0.99)


class PythonPageTest(unittest.TestCase):
    def test_its_examples_run(self):
        swap, carry, save, lengths = python_in("docs/python.md")[:4]
        weight = torch.nn.Parameter(torch.zeros(1))
        names = {"torch": torch, "stpn": stpn, "windows": torch.randn(3, 2, 7, 64),
                 "loss_of": torch.sum, "optimiser": torch.optim.SGD([weight])}
        exec(compile(swap, "docs/python.md", "exec"), names)
        self.assertIsInstance(names["memory"], stpn.STPN)
        exec(compile(carry, "docs/python.md", "exec"), names)
        self.assertFalse(names["state"].h.requires_grad)
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            exec(compile(save, "docs/python.md", "exec"), names)
        self.assertIs(type(names["state"]), stpn.STPNState)
        for line in re.findall(r"`((?:torch\.nn\.init|memory\.weight_lambda)[^`]*)`", text_of("docs/python.md")):
            with torch.no_grad():
                exec(line, names)
            self.assertGreaterEqual(names["memory"].weight_lambda_l0.min().item(), 1)
        names["x"] = torch.randn(3, 7, 64)
        exec(compile(lengths, "docs/python.md", "exec"), names)
        self.assertFalse(names["output"][1, 3:].any())
        (memory,) = [code for code in python_in("docs/python.md") if "flatten_state" in code]
        # Of a package that is not installed here.
        stand_in = types.SimpleNamespace(RecurrentPPO=None, RecurrentActorCriticPolicy=torch.nn.Module)
        with unittest.mock.patch.dict(sys.modules, {"sb3_contrib": stand_in,
                                                    "sb3_contrib.common.recurrent.policies": stand_in}):
            exec(compile(memory, "docs/python.md", "exec"), names)
        memory = names["Memory"](3, 4)
        state = torch.zeros(1, 2, memory.hidden_size)
        output, (after, _) = memory(torch.randn(1, 2, 3), (state, state))
        self.assertEqual((output.shape, after.shape), ((1, 2, 4), state.shape))


class ResultsTest(unittest.TestCase):
    def test_the_table_is_that_of_the_report_and_names_its_commands(self):
        from stpn.report.gather import find_tasks
        from stpn.report.page import markdown
        from stpn.report.tables import glance_table
        text = (CHECKOUT / "README.md").read_text()
        table = glance_table(find_tasks([CHECKOUT / "results"]))
        self.assertIn(markdown(table), text)
        commands = dict(re.findall(r"^\| ([A-Z][a-z ]+) \| `build/bin/stpn reproduce (\w+)`", text, re.MULTILINE))
        self.assertEqual({row.name.partition(",")[0] for row in table.rows}, set(commands))
        for task in commands.values():
            self.assertTrue((CHECKOUT / "experiments" / task / "reproduce.toml").is_file(), task)


class OpsPageTest(unittest.TestCase):
    def test_states_are_carried_on_and_sequences_end_together(self):
        carry, align = python_in("docs/ops.md")
        B, I, H = 3, 2, 4
        names = {"torch": torch, "I": I, "lengths": [5, 2, 4],
                 "sequences": [torch.ones(length, I) for length in (5, 2, 4)],
                 "h": torch.zeros(B, H), "F": torch.zeros(B, H, I + H),
                 "weight": torch.randn(H, I + H, requires_grad=True), "bias": torch.zeros(H),
                 "weight_lambda": torch.rand(H, I + H), "weight_gamma": torch.randn(H, I + H)}
        exec(compile(align, "docs/ops.md", "exec"), names)
        self.assertEqual(names["x"].sum((0, 2)).tolist(), [10, 4, 8])
        self.assertEqual(names["reset"].nonzero().tolist(), [[0, 0], [1, 2], [3, 1]])
        exec(compile(carry, "docs/ops.md", "exec"), names)
        self.assertFalse(names["h"].requires_grad or names["F"].requires_grad)
        self.assertEqual(names["h"].untyped_storage().nbytes(), 4 * B * H)


if __name__ == "__main__":
    unittest.main()
