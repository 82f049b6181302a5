"""The runs of `stpn reproduce` as tasks of a Ray cluster.

`stpn reproduce TASK --ray ADDRESS` calls

    python -m stpn.ray_runs ADDRESS FOLDER [--jobs N] < PLAN

PLAN is JSON: {"program", "runs": [{"name", "experiment", "text", "arguments", "epochs"}]}: the program
as it is found on all machines, and of each run the name, which is also its folder within FOLDER, folder
and name of the experiment's file and what is in it, the arguments of `stpn train`, and the epochs.

A task works on a run until the first checkpoint after SLICE seconds (or STPN_RAY_SLICE), and returns the files of the run
folder, which are written home; the next task goes on from them, on any machine. So a machine that is
lost costs no run, and of each of its runs at most the time since its last return. A run that was
stopped at a checkpoint and resumed has the bits of one that was not, so folders are those of the local
pool.
"""

import argparse
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SLICE = 60.0  # seconds; a task takes one or two to start
ATTEMPTS = 5  # in a row without a new checkpoint, before a run has failed
RESOURCES = {"num_cpus": 1, "memory": 2**30}  # of a task: one thread, 1 GiB
LAST = "checkpoint/last.safetensors"
# The order in which a run writes its files, so that what is at home can be resumed at any time.
ORDER = ("config.toml", "metrics.jsonl", "checkpoint/best.safetensors", LAST, "summary.json")


def read_folder(folder):
    """The files of a run folder, by their paths in it."""
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".tmp"}


def write_folder(folder, files):
    """Makes the folder one with these files alone, each of which is written completely or not at all."""
    for name in read_folder(folder).keys() - files.keys():
        (folder / name).unlink()
    for name in sorted(files, key=lambda name: ORDER.index(name) if name in ORDER else -1):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".home.tmp")
        partial.write_bytes(files[name])
        os.replace(partial, path)


def work_on(program, run, files, seconds):
    """Goes on with a run for a while. Returns the exit code of `stpn train`, or None if the run has
    not ended; its errors; and the files of its folder."""
    with tempfile.TemporaryDirectory(prefix="stpn_run_") as place:
        experiment, folder = Path(place, run["experiment"]), Path(place, "run")
        experiment.parent.mkdir(parents=True)
        experiment.write_text(run["text"], encoding="utf-8")
        if files:
            write_folder(folder, files)
        command = [os.environ.get("STPN_PROGRAM") or program, "train", experiment, "--out", folder,
                   "--resume", "--quiet", "--threads", "1", *run["arguments"]]
        # It is one process, whatever started this worker.
        environment = {**os.environ, "STPN_ALONE": "1"}
        # Found before the fork: to load a library after it may wait for a lock of another thread.
        prctl = ctypes.CDLL(None).prctl
        last = folder / LAST
        with open(Path(place, "errors"), "w+", encoding="utf-8") as errors:
            # 1 is PR_SET_PDEATHSIG: it is killed when the worker ends.
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=errors, env=environment,
                                       preexec_fn=lambda: prctl(1, signal.SIGKILL))
            end, seen, stopped = time.monotonic() + seconds, None, False
            while True:
                try:
                    process.wait(0.05)
                    break
                except subprocess.TimeoutExpired:
                    pass
                if time.monotonic() < end:
                    continue
                now = last.stat().st_mtime_ns if last.exists() else 0
                if seen is not None and now != seen:
                    stopped = True
                    process.kill()
                seen = now
            errors.seek(0)
            said = errors.read()
        killed = stopped and process.returncode == -signal.SIGKILL
        return None if killed else process.returncode, said, read_folder(folder)


class Board:
    """Says how far the runs are, on standard error."""

    def __init__(self, runs, home):
        self.runs, self.home, self.ended = runs, home, 0
        self.epochs = {run["name"]: self.epochs_of(run) for run in runs}
        self.before, self.start, self.said = sum(self.epochs.values()), time.monotonic(), 0.0

    def epochs_of(self, run):
        try:
            return (self.home / run["name"] / "metrics.jsonl").read_bytes().count(b"\n")
        except OSError:
            return 0

    def progress(self):
        done, whole = sum(self.epochs.values()), sum(run["epochs"] for run in self.runs)
        left = "?"
        if done > self.before:
            seconds = (time.monotonic() - self.start) * max(0, whole - done) / (done - self.before)
            left = f"{int(seconds // 3600)}:{int(seconds // 60 % 60):02}:{int(seconds % 60):02}"
        return f"{self.ended}/{len(self.runs)} done, {left} left"

    def returned(self, run):
        self.epochs[run["name"]] = self.epochs_of(run)
        if time.monotonic() - self.start - self.said > 30:
            self.said = time.monotonic() - self.start
            print(self.progress(), file=sys.stderr, flush=True)

    def end(self, run, how):
        self.ended += 1
        self.epochs[run["name"]] = run["epochs"]
        print(f"{run['name']}: {how} ({self.progress()})", file=sys.stderr, flush=True)


def run_all(ray, plan, home, jobs=None, seconds=SLICE):
    """Runs the runs of the plan on the cluster that `ray` is connected to. Returns the names of those
    that failed."""
    lost_errors = (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError,
                   ray.exceptions.OutOfMemoryError, ray.exceptions.ObjectLostError)
    task = ray.remote(work_on).options(max_retries=0, **RESOURCES)
    board, failed, lost, running = Board(plan["runs"], home), [], {}, {}
    waiting = list(reversed(plan["runs"]))

    def submit(run):
        files = read_folder(home / run["name"])
        running[task.remote(plan["program"], run, files, seconds)] = run

    while waiting or running:
        while waiting and len(running) < (jobs or len(plan["runs"])):
            submit(waiting.pop())
        ready, _ = ray.wait(list(running), num_returns=1)
        run = running.pop(ready[0])
        name = run["name"]
        why = None  # the worker is lost
        try:
            code, errors, files = ray.get(ready[0])
            if code is not None and code < 0:  # as when a machine is out of memory
                why = f"signal {-code}"
        except lost_errors as error:
            why = type(error).__name__
        except ray.exceptions.RayError as error:
            code, errors, files = 1, last_line(error), {}
        if why is not None:
            lost[name] = lost.get(name, 0) + 1
            if lost[name] < ATTEMPTS:
                print(f"{name}: its worker is lost ({why}); it goes on from epoch {board.epochs_of(run)}",
                      file=sys.stderr, flush=True)
                waiting.append(run)
                continue
            code, errors, files = 1, f"its worker was lost {ATTEMPTS} times in a row", {}
        if files.get(LAST):
            lost[name] = 0
        if files:
            write_folder(home / name, files)
        if code == 0 and "summary.json" not in files:
            code, errors = 1, "it has ended without a summary.json"
        board.returned(run)
        if code is None:
            waiting.append(run)
        elif code == 0:
            board.end(run, "done")
        else:
            failed.append(name)
            errors = " ".join(errors.split()).removeprefix("stpn: ")
            board.end(run, f"failed with exit code {code}: {errors}")
    return failed


def last_line(error):
    return (str(error).strip() or repr(error)).splitlines()[-1]


def fits(node):
    """Whether a task fits on a machine, as ray.nodes() describes it."""
    has = node["Resources"]
    return (node["Alive"] and has.get("CPU", 0) >= RESOURCES["num_cpus"]
            and has.get("memory", 0) >= RESOURCES["memory"])


def check_address(address):
    """Raises OSError if nothing listens there, for which Ray itself would wait many minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m stpn.ray_runs",
                                     description="Runs of `stpn reproduce` on a Ray cluster.")
    parser.add_argument("address", metavar="ADDRESS")
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    parser.add_argument("--jobs", type=int)
    given = parser.parse_args(arguments)
    plan = json.load(sys.stdin)
    text = os.environ.get("STPN_RAY_SLICE") or SLICE
    try:
        seconds = float(text)
    except ValueError:
        print(f"stpn: STPN_RAY_SLICE is {text!r}: set it to a number of seconds", file=sys.stderr)
        return 2
    import ray  # not needed by those who do not use it
    try:
        check_address(given.address)
        ray.init(address=given.address, log_to_driver=False, logging_level="ERROR")
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split()) or repr(error)
        print(f"stpn: --ray {given.address}: this Ray cluster cannot be used: {reason}", file=sys.stderr)
        return 2
    if not any(map(fits, ray.nodes())):
        print(f"stpn: --ray {given.address}: no machine of the cluster has a CPU and 1 GiB of memory, which a "
              "run needs", file=sys.stderr)
        return 2
    try:
        return 1 if run_all(ray, plan, given.folder, given.jobs, seconds) else 0
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
