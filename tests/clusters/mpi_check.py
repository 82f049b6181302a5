"""Runs over several processes and two hosts: their bits, their ends, their resumptions. Takes minutes and
needs root, for the network namespaces that are the two hosts (hosts.py), so it is not part of `make test`.
docs/clusters.md shows its output.

tests/clusters/mpi_check.py build/bin/stpn [bits] [kills] [cut] [--moments N] [--seed N]
"""

import argparse
import itertools
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

from hosts import KEEPALIVE, Hosts

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "tests/program"))
import support  # noqa: E402

# Committed experiments, cut short, with several shards a batch.
EXPERIMENTS = {
    "retrieval": ("retrieval/stpn.toml", "train.batch_size=500", "train.epochs=4", "task.training=4000",
                  "task.test=1600"),
    "maze": ("maze/stpn.toml", "train.iterations=4", "train.warm_up=1", "train.report_every=2",
             "train.episodes=256", "task.test=256"),
    "ppo": ("pendulum/stpn.toml", "train.steps=40000", "train.environments=200", "train.rollout_length=50",
            "train.minibatch_steps=8000", "train.passes=3", "train.report_every=2"),
}
# Quicker, with more checkpoints, to be killed.
QUICK = {
    "retrieval": ("retrieval/stpn.toml", "train.batch_size=500", "train.epochs=60", "task.training=4000",
                  "task.validation=500", "task.test=600"),
    "maze": ("maze/stpn_small.toml", "task.size=5", "task.steps=20", "train.iterations=90",
             "train.warm_up=1", "train.report_every=3", "train.episodes=140", "train.rollout_length=9",
             "task.test=70"),
    "ppo": ("pendulum/stpn.toml", "unit.hidden_size=8", "train.steps=64000", "train.environments=140",
            "train.rollout_length=23", "train.minibatch_steps=2500", "train.passes=2", "train.report_every=2",
            "task.test=70"),
}


def result(folder):
    """All that a run has written, without wall-clock times."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return ([support.without_times(line) for line in lines],
            support.without_times((folder / "summary.json").read_text()),
            {path.name: support.tensors(path) for path in (folder / "checkpoint").iterdir()})


class Check:
    def __init__(self, stpn, place):
        self.stpn, self.place = stpn, place

    def train(self, experiment, out):
        file, *settings = experiment
        words = [str(self.stpn), "train", str(CHECKOUT / "experiments" / file), "--out", str(out), "--quiet",
                 "--threads", "1", "--resume"]
        for setting in settings:
            words += ["--set", setting]
        return words

    def mpirun(self, processes):
        return ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(processes)]

    def whole(self, name, experiment):
        folder = self.place / f"whole_{name}"
        if not folder.exists():
            subprocess.run(self.train(experiment, folder), check=True)
        return result(folder)

    def bits(self):
        for name, experiment in EXPERIMENTS.items():
            expected = self.whole(f"bits_{name}", experiment)
            for processes in (2, 3):
                folder = self.place / f"{name}{processes}"
                subprocess.run(self.mpirun(processes) + self.train(experiment, folder), check=True)
                self.say_same(f"{name}, {processes} processes", result(folder), expected)
            with Hosts(self.place) as hosts:
                for processes in (2, 3):
                    folder = self.place / f"{name}{processes}_hosts"
                    before = hosts.bytes_sent()
                    subprocess.run(hosts.mpirun(processes) + self.train(experiment, folder), check=True)
                    sent = hosts.bytes_sent() - before
                    self.say_same(f"{name}, {processes} processes on 2 hosts ({sent / 1e6:.1f} MB sent by the "
                                  f"first)", result(folder), expected)

    def say_same(self, what, found, expected):
        if found != expected:
            sys.exit(f"{what}: other bits than one process")
        print(f"{what}: metrics, summary and weights are those of one process, bit for bit", flush=True)

    def kills(self, moments, seed):
        numbers = random.Random(seed)
        resumed_with = itertools.cycle((1, 2, 3))
        for rank in range(3):
            ends, epochs = [], []
            for moment in range(moments):
                name = list(QUICK)[moment % len(QUICK)]
                expected = self.whole(f"kills_{name}", QUICK[name])
                folder = self.place / f"killed{rank}_{moment}"
                command = self.train(QUICK[name], folder)
                process = subprocess.Popen(self.mpirun(3) + command, stderr=subprocess.PIPE, text=True)
                pid = self.pid_of(process, rank)
                # At any moment of the run, also before the first checkpoint, however busy the machine is.
                epochs_before = numbers.randrange(len(expected[0]))
                while self.epochs(folder) < epochs_before and process.poll() is None:
                    time.sleep(0.002)
                time.sleep(numbers.uniform(0, 0.1 if epochs_before > 0 else 2))
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:  # it was quicker
                    pass
                start = time.monotonic()
                _, errors = process.communicate(timeout=300)
                ends.append(time.monotonic() - start)
                if process.returncode != 0 and f"rank {rank} " not in errors:
                    sys.exit(f"the error does not name rank {rank}: {errors}")
                epochs.append(self.epochs(folder))
                processes = next(resumed_with)
                subprocess.run((self.mpirun(processes) if processes > 1 else []) + command, check=True)
                if result(folder) != expected:
                    sys.exit(f"{name}: rank {rank} killed after {epochs[-1]} epochs, resumed with {processes} "
                             f"processes: other bits")
            print(f"rank {rank} of 3 killed at {moments} moments, after {', '.join(map(str, epochs))} epochs; all "
                  f"ended within {max(ends):.1f} s; resumed with 1, 2 and 3 processes: same bits", flush=True)

    def pid_of(self, process, rank):
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
        end = time.monotonic() + 60
        while time.monotonic() < end:
            for child in children.read_text().split():
                try:
                    environment = pathlib.Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
                except OSError:
                    continue
                if f"OMPI_COMM_WORLD_RANK={rank}".encode() in environment:
                    return int(child)
            time.sleep(0.01)
        sys.exit("mpirun has not started the processes")

    def epochs(self, folder):
        metrics = folder / "metrics.jsonl"
        return metrics.read_bytes().count(b"\n") if metrics.exists() else 0

    def cut(self):
        experiment = (*QUICK["retrieval"][:2], "train.epochs=100000", *QUICK["retrieval"][3:])
        for what, options, timeout in (("found by the processes", (), 5), ("found by mpirun", KEEPALIVE, 60)):
            folder = self.place / f"cut{timeout}"
            with Hosts(self.place) as hosts:
                command = self.train(experiment, folder) + ["--process-timeout", str(timeout)]
                process = subprocess.Popen(hosts.mpirun(3, *options) + command, stderr=subprocess.PIPE,
                                           text=True)
                while not (folder / "metrics.jsonl").exists():
                    time.sleep(0.1)
                time.sleep(1)
                hosts.cut()
                start = time.monotonic()
                while self.still_runs(folder):
                    if time.monotonic() - start > 120:
                        sys.exit("the processes have not ended")
                    time.sleep(0.1)
                ended = time.monotonic() - start
                try:
                    process.wait(5)
                    mpirun = f"mpirun has ended with exit code {process.returncode}"
                except subprocess.TimeoutExpired:
                    mpirun = "mpirun itself waits on for the other machine"
                    hosts.mend()
                    process.kill()
            errors = process.communicate()[1]
            lines = [line for line in errors.splitlines()
                     if line.startswith(("stpn:", "ORTE has lost communication"))]
            if len(lines) != 1:
                sys.exit(f"not one line: {errors}")
            print(f"link down, {what} (--process-timeout {timeout}): all processes on both hosts ended after "
                  f"{ended:.1f} s; {mpirun}\n    {lines[0]}", flush=True)

    def still_runs(self, folder):
        found = 0
        for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            found += words[0] == str(self.stpn).encode() and str(folder).encode() in words
        return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("stpn", type=pathlib.Path)
    parser.add_argument("what", nargs="*", default=["bits", "kills", "cut"])
    parser.add_argument("--moments", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    with tempfile.TemporaryDirectory(prefix="stpn_mpi_") as place:
        check = Check(given.stpn.resolve(), pathlib.Path(place))
        if "bits" in given.what:
            check.bits()
        if "kills" in given.what:
            check.kills(given.moments, given.seed)
        if "cut" in given.what:
            check.cut()


if __name__ == "__main__":
    main()
