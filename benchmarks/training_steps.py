"""Milliseconds of whole training steps: retrieval, Maze and familiarity, and what PyTorch takes for the first.

    .venv/bin/python benchmarks/training_steps.py
    .venv/bin/python benchmarks/training_steps.py --programs OLD/build/bin/stpn build/bin/stpn   # two builds, in turns

| row | what is timed |
| --- | --- |
| retrieval | an epoch with its validation |
| maze | an iteration: 512 episodes of 200 steps, played and learnt from |
| familiarity | a pass over a stream of 5000 steps |

Models and programs take turns; a figure is the median over all rounds of what the runs' metrics say. The last column is
the time over that of the same model and the first program; of the PyTorch loop, over the first model's. That loop
trains an nn.LSTM of as many parameters as the STPN with fused Adam on random data of the same shape, and validates.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
PASSES = 20
# Steps in an epoch of the metrics, and the settings that give a few short epochs.
ROWS = {
    "retrieval": (1, ["train.epochs=4"]),
    "maze": (5, ["train.iterations=20", "train.report_every=5", "train.warm_up=0", "task.test=512"]),
    "familiarity": (PASSES, ["train.epochs=4", f"train.passes={PASSES}", "task.validation=1", "task.test=1"]),
}
CLASSES = 10  # the digits that the PyTorch loop answers with


def experiments_of(program):
    """Those of the checkout that the program was built in, whose settings it knows."""
    folder = Path(program).resolve().parent  # build/bin of the checkout
    own = folder.parent.parent / "experiments"
    return own if own.is_dir() else ROOT / "experiments"


def train(program, row, model, threads):
    """Milliseconds of each step after the first epoch, and the run's configuration."""
    steps, settings = ROWS[row]
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch, "run")
        command = [program, "train", experiments_of(program) / row / f"{model}.toml", "--out", run, "--quiet",
                   "--threads", str(threads)]
        for setting in settings:
            command += ["--set", setting]
        found = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if found.returncode:
            sys.exit(f"training_steps: {' '.join(map(str, command))} failed:\n{found.stderr}")
        lines = map(json.loads, Path(run, "metrics.jsonl").read_text().splitlines())
        times = [line["wall_seconds"] for line in lines]
        config = tomllib.loads(Path(run, "config.toml").read_text())
    return [1e3 * (b - a) / steps for a, b in zip(times, times[1:])], config


class PyTorchEpochs:
    """The loop that one would write: nn.LSTM, a linear layer on its last output, and fused Adam."""

    def __init__(self, config, steps=9, inputs=37, hidden=9):
        sizes, self.batch = config["task"], config["train"]["batch_size"]
        self.data = [(torch.rand(steps, sizes[split], inputs), torch.randint(CLASSES, (sizes[split],)))
                     for split in ("training", "validation")]
        self.lstm, self.head = torch.nn.LSTM(inputs, hidden), torch.nn.Linear(hidden, CLASSES)
        self.adam = torch.optim.Adam([*self.lstm.parameters(), *self.head.parameters()], lr=1e-3, fused=True)

    def loss(self, x, target):
        return torch.nn.functional.cross_entropy(self.head(self.lstm(x)[0][-1]), target)

    def run(self):
        start = time.perf_counter()
        for split, (x, target) in enumerate(self.data):
            for first in range(0, x.shape[1] - self.batch + 1, self.batch):
                part = x[:, first:first + self.batch], target[first:first + self.batch]
                if split == 1:
                    with torch.no_grad():
                        self.loss(*part).item()
                    continue
                self.adam.zero_grad(set_to_none=True)
                loss = self.loss(*part)
                loss.backward()
                self.adam.step()
                loss.item()
        return 1e3 * (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", nargs="+", type=Path, default=[ROOT / "build/bin/stpn"])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--models", nargs="+", default=["stpn", "lstm"])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for row in options.rows:
        times, loop = {}, None
        for _ in range(options.rounds):
            for model in options.models:
                for program in options.programs:
                    found, config = train(program, row, model, options.threads)
                    times.setdefault((model, program), []).extend(found)
            if row == "retrieval":
                loop = loop or PyTorchEpochs(config)
                loop.run()
                times.setdefault(("PyTorch loop", "nn.LSTM"), []).extend(loop.run() for _ in range(3))
        first = options.models[0], options.programs[0]
        for (model, program), found in times.items():
            median = statistics.median(found)
            peer = statistics.median(times.get((model, options.programs[0]), times[first]))
            print(f"{row:12} {model:14} {str(program):40} {median:8.4g} ms  {median / peer:.3f}", flush=True)


if __name__ == "__main__":
    main()
