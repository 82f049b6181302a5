"""Runs the program under test. The first argument of a test script is its path."""

import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

STPN = None

EXPERIMENT = """# A small experiment.
[task]
name = "associative_retrieval"
pairs = 2
training = 2000
validation = 300
test = 500

[unit]
name = "lstm"
hidden_size = 6

[train]
algorithm = "supervised"
epochs = 8
batch_size = 50
learning_rate = 1e-2
"""

RL_EXPERIMENT = """[task]
name = "maze"
size = 5
steps = 20
test = 100

[unit]
name = "stpn_recurrent"
hidden_size = 6
norm = "pre"

[train]
algorithm = "actor_critic"
iterations = 6
episodes = 70
warm_up = 1
report_every = 2
learning_rate = 1e-2
"""


class ProgramTest(unittest.TestCase):
    """Each test runs in a new folder that holds small.toml and rl.toml."""

    def setUp(self):
        holder = tempfile.TemporaryDirectory(prefix="stpn_program_")
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)
        self.write("small.toml", EXPERIMENT)
        self.write("rl.toml", RL_EXPERIMENT)

    def write(self, name, content):
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def popen(self, *arguments, **options):
        return subprocess.Popen([STPN, *map(str, arguments)], cwd=self.folder, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, **options)

    def run_stpn(self, *arguments, **options):
        """Returns exit code, stdout and stderr."""
        with self.popen(*arguments, **options) as process:
            out, err = process.communicate(timeout=240)
        return process.returncode, out, err

    def succeed(self, *arguments):
        code, out, err = self.run_stpn(*arguments)
        self.assertEqual(code, 0, err)
        return out

    def expect_one_line(self, err, *parts):
        self.assertTrue(err.startswith("stpn: "), err)
        self.assertTrue(err.endswith("\n"), err)
        self.assertEqual(err.count("\n"), 1, err)
        for part in parts:
            self.assertIn(part, err)

    def expect_user_error(self, arguments, *parts):
        """Expects exit code 2, no change on disk, and one line on stderr that contains the parts."""
        before = self.snapshot()
        code, out, err = self.run_stpn(*arguments)
        self.assertEqual(code, 2, err)
        self.assertEqual(out, "")
        self.expect_one_line(err, *parts)
        self.assertEqual(self.snapshot(), before)

    def snapshot(self):
        return {path.relative_to(self.folder): path.read_bytes() if path.is_file() else None
                for path in self.folder.rglob("*")}

    def metrics(self, run):
        lines = [json.loads(line)
                 for line in (self.folder / run / "metrics.jsonl").read_text().splitlines()]
        for line in lines:
            del line["wall_seconds"]
        return lines

    def expect_same_run(self, one, two):
        """Expects equal metrics, and weights that are equal bit for bit."""
        self.assertEqual(self.metrics(one), self.metrics(two))
        for name in ("last", "best"):
            first, second = (tensors(self.folder / run / "checkpoint" / f"{name}.safetensors")
                             for run in (one, two))
            self.assertEqual(first, second)
            self.assertIn("head.weight", first)
        summaries = [json.loads((self.folder / run / "summary.json").read_text())
                     for run in (one, two)]
        for summary in summaries:
            del summary["wall_seconds"], summary["metrics"]["seconds_per_epoch"]
        self.assertEqual(*summaries)


# Wall-clock times among the metrics and results of a run.
TIMES = ("wall_seconds", "seconds_per_epoch", "seconds_per_iteration", "steps_per_second")


def without_times(text):
    """A line of metrics, or a summary, without them."""
    content = json.loads(text)
    for key in TIMES:
        content.pop(key, None)
        content.get("metrics", {}).pop(key, None)
    return content


def tensors(path):
    """The bytes of each tensor of a safetensors file."""
    content = path.read_bytes()
    size, = struct.unpack("<Q", content[:8])
    header = json.loads(content[8:8 + size])
    header.pop("__metadata__")
    body = content[8 + size:]
    return {name: body[slice(*entry["data_offsets"])] for name, entry in header.items()}


def replace_in_metadata(path, old, new):
    """Replaces a text in the metadata of a safetensors file, and keeps the tensors."""
    content = path.read_bytes()
    size, = struct.unpack("<Q", content[:8])
    header = json.loads(content[8:8 + size])
    header["__metadata__"]["stpn"] = header["__metadata__"]["stpn"].replace(old, new)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size:])


def main():
    global STPN
    STPN = os.path.abspath(sys.argv.pop(1))
    unittest.main("__main__", verbosity=2)
