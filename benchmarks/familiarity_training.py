"""Milliseconds and memory of a pass of training over one long stream of the familiarity task: `stpn train`.

    .venv/bin/python benchmarks/familiarity_training.py
    .venv/bin/python benchmarks/familiarity_training.py --models stpn hebbff --length 5000

A pass is what an update takes: a new stream, forward, backward and Adam, on one thread. Its time is the difference
between runs of many and of few passes, of the processor, so that other load counts less; its memory is that of a run
with streams of this length less that of one with streams of 20 steps. The models take turns.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PASSES = 5, 45


def run(model, length, passes):
    """(seconds of the processor, peak memory in MB) of one epoch."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [ROOT / "build/bin/stpn", "train", ROOT / f"experiments/familiarity/{model}.toml",
                   "--out", Path(scratch, "run"), "--quiet", "--threads", "1"]
        for setting in ("train.epochs=1", f"train.passes={passes}", f"task.length={length}",
                        "task.validation=1", "task.test=1"):
            command += ["--set", setting]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        if status:
            sys.exit(f"{' '.join(map(str, command))} failed")
        return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["stpn", "stpn_feedforward", "hebbff", "lstm", "gru"])
    parser.add_argument("--length", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    times, memory = ({model: [] for model in options.models} for _ in range(2))
    for _ in range(options.rounds):
        for model in options.models:
            few, _ = run(model, options.length, PASSES[0])
            many, peak = run(model, options.length, PASSES[1])
            _, short = run(model, 20 + 1, PASSES[0])
            times[model].append((many - few) / (PASSES[1] - PASSES[0]))
            memory[model].append(peak - short)
    for model in options.models:
        print(f"{model:24} {1e3 * statistics.median(times[model]):6.1f} ms a pass (shortest "
              f"{1e3 * min(times[model]):.1f})  {max(memory[model]):5.0f} MB")


if __name__ == "__main__":
    main()
