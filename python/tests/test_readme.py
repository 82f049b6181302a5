"""The Python program in the README learns what it says."""

import re
import unittest
from pathlib import Path

import torch


class ReadmeTest(unittest.TestCase):
    def test_the_program_learns_to_recall(self):
        text = (Path(__file__).resolve().parents[2] / "README.md").read_text()
        (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        names = {}
        torch.manual_seed(1)
        torch.set_num_threads(1)  # at this size more are slower
        exec(compile(program, "README.md", "exec"), names)  # prints the accuracy
        self.assertGreaterEqual(names["accuracy"], 0.95)


if __name__ == "__main__":
    unittest.main()
