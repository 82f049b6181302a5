"""Times one unit of several builds of the ops in turns: forward and backward at the shape of an experiment.

    .venv/bin/python benchmarks/builds.py stpn_recurrent pong ../before/build/lib/libstpn_ops.so \\
        build/lib/libstpn_ops.so lstm

Times are given as ratios to the first build. `lstm` in place of a library is an nn.LSTM with about as many
parameters as the STPN. Each build has a process of its own, which keeps freed memory, as `make bench`
does; the processes take turns in random order. All of them are started several times, since the memory that
a process gets decides up to a tenth of its time. The results are medians over starts of medians over turns.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

import cases
import contender

KEEPS_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**32)}
TURN_S = 0.3


def serve(build, key, threads):
    """Answers each line of standard input with the median times of a turn, forward and backward."""
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    if build != "lstm":
        torch.ops.load_library(build)
    case = cases.CASES[key]()
    unit = contender.lstm(case) if build == "lstm" else contender.ours(case)
    unit.run()
    for _ in sys.stdin:
        times = []
        end = time.perf_counter() + TURN_S
        while len(times) < 3 or time.perf_counter() < end:
            forward_s, total_s = unit.run()
            times.append((forward_s, total_s - forward_s))
        print(json.dumps([statistics.median(column) for column in zip(*times[1:])]), flush=True)


def start(build, arguments):
    command = [sys.executable, __file__, arguments.unit, arguments.shape, build, "--threads", str(arguments.threads),
               "--serve"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                            env={**os.environ, **KEEPS_FREED_MEMORY})


def turn(process):
    print(file=process.stdin, flush=True)
    line = process.stdout.readline()
    if not line:
        sys.exit("builds: a build stopped; its message is above")
    return json.loads(line)


def measure(arguments):
    """The times of each build at each start, forward and backward."""
    found = [[] for _ in arguments.builds]
    order = list(range(len(found)))
    for number in range(arguments.starts):
        print(f"builds: start {number + 1} of {arguments.starts}", file=sys.stderr)
        processes = [start(build, arguments) for build in arguments.builds]
        turns = [[] for _ in order]
        for _ in range(arguments.turns):
            random.shuffle(order)
            for k in order:
                turns[k].append(turn(processes[k]))
        for k, process in enumerate(processes):
            process.communicate()
            found[k].append([statistics.median(column) for column in zip(*turns[k])])
    return found


def print_table(builds, found):
    print("| build | forward ms | of the first | backward ms | of the first | both ms | of the first |")
    print("|" + " --- |" * 7)
    first = None
    for build, starts in zip(builds, found):
        medians = [statistics.median(column) for column in zip(*[(f, b, f + b) for f, b in starts])]
        first = first or medians
        cells = [f"{1e3 * now:.3g} | {now / before:.3f}" for now, before in zip(medians, first)]
        print(f"| {build} | {' | '.join(cells)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("unit")
    parser.add_argument("shape")
    parser.add_argument("builds", nargs="+", metavar="LIBRARY", help="libstpn_ops.so of a build, or lstm")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--starts", type=int, default=5, help="how often all builds are started")
    parser.add_argument("--turns", type=int, default=5, help="turns of each start")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    key = arguments.unit, arguments.shape
    contender.check_key(parser, key)
    for build in arguments.builds:
        if build != "lstm" and not Path(build).exists():
            parser.error(f"there is no {build}: build it with `make build` in its checkout")
    if arguments.serve:
        return serve(arguments.builds[0], key, arguments.threads)
    print_table(arguments.builds, measure(arguments))


if __name__ == "__main__":
    main()
