"""`stpn reproduce --ray` on a cluster of two workers, of which one is killed half-way: takes minutes, and
needs ray==2.60.0, so it is not part of `make test`. docs/clusters.md shows its output.

tests/clusters/ray_check.py build/bin/stpn      in a Python with Ray

Compares every file of every run with that of the local pool, but for wall-clock times.
"""

import argparse
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

from ray.cluster_utils import Cluster  # type: ignore[import-not-found]

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "program"))
import support  # noqa: E402

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]


def content(path):
    """Of a file of a run folder, without wall-clock times."""
    if path.suffix == ".safetensors":
        return support.tensors(path)
    if path.name == "metrics.jsonl":
        return [support.without_times(line) for line in path.read_text().splitlines()]
    if path.name == "summary.json":
        return support.without_times(path.read_text())
    return path.read_bytes()


def files(folder):
    return {path.relative_to(folder).as_posix(): content(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and len(path.relative_to(folder).parts) > 3}  # of runs


def children(pid):
    try:
        return [int(word) for task in pathlib.Path(f"/proc/{pid}/task").iterdir()
                for word in (task / "children").read_text().split()]
    except OSError:  # it has ended
        return []


def processes_below(pid):
    found = []
    for child in children(pid):
        found += [child, *processes_below(child)]
    return found


TOY = """
[[set]]
name = "pairs2"
models = ["lstm", "stpn"]
seeds = 2
"""


class Check:
    def __init__(self, stpn, place):
        self.stpn, self.place = stpn, place

    def reproduce(self, out, *arguments):
        return subprocess.Popen([self.stpn, "reproduce", *arguments, "--runs-only", "--out", out],
                                cwd=self.place, stderr=subprocess.PIPE, text=True)

    def run(self, cluster, may_kill, *arguments):
        """Runs them on the cluster, which has two workers, one of which is killed once may_kill(folder)
        is true of the folder at home; then locally. Compares the files."""
        victim = cluster.add_node(num_cpus=1)
        cluster.add_node(num_cpus=1)
        raylet = victim.all_processes["raylet"][0].process.pid
        start, lines, over = time.monotonic(), [], threading.Event()

        def say(text):
            print(f"{time.monotonic() - start:6.1f} s  {text}", flush=True)

        def kill():
            while not (may_kill(self.place / "on_ray") and is_training(raylet)):
                if over.wait(0.01):
                    return
            for pid in [raylet, *processes_below(raylet)]:  # all of that machine, at once
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            say("-- a worker is killed")

        killer = threading.Thread(target=kill)
        killer.start()
        with self.reproduce("on_ray", *arguments, "--ray", cluster.address) as process:
            for line in process.stderr:
                say(line.rstrip())
                lines.append(line)
        over.set()
        killer.join()
        if process.returncode != 0:
            sys.exit(f"reproduce --ray ended with exit code {process.returncode}")
        if not any("its worker is lost" in line for line in lines):
            sys.exit("no run has lost its worker")
        with self.reproduce("locally", *arguments) as process:
            _, errors = process.communicate()
        if process.returncode != 0:
            sys.exit(errors)
        one, two = files(self.place / "on_ray"), files(self.place / "locally")
        different = [name for name in one.keys() | two.keys() if one.get(name) != two.get(name)]
        if different:
            sys.exit(f"different: {', '.join(sorted(different))}")
        print(f"{len(one)} files of {lines[0].split()[0]} runs are those of the local pool")


def is_training(raylet):
    return any(b"train" in command_of(pid) for pid in processes_below(raylet))


def command_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def many_runs_are_home(folder):
    return len(list(folder.glob("*/*/*/summary.json"))) >= 18


def each_run_has_returned_unfinished(folder):
    return (len(list(folder.glob("*/*/*/metrics.jsonl"))) >= 4
            and not list(folder.glob("*/*/*/summary.json")))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("stpn", type=pathlib.Path)
    stpn = parser.parse_args().stpn.resolve()
    os.environ["STPN_PYTHON"] = sys.executable
    for name, arguments in (("short runs", ("retrieval", "--budget", "smoke")),
                            ("runs in slices", ("toy",))):
        print(name)
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            with tempfile.TemporaryDirectory(prefix="stpn_ray_") as place:
                place = pathlib.Path(place)
                experiments = place / "experiments"
                if arguments[0] == "toy":
                    os.environ.update(STPN_RAY_SLICE="2")
                    (experiments / "toy").mkdir(parents=True)
                    text = support.EXPERIMENT.replace("epochs = 8", "epochs = 600")
                    (experiments / "toy/lstm.toml").write_text(text)
                    (experiments / "toy/stpn.toml").write_text(text.replace('"lstm"', '"stpn_recurrent"'))
                    (experiments / "toy/reproduce.toml").write_text(TOY)
                    Check(stpn, place).run(cluster, each_run_has_returned_unfinished, *arguments)
                else:
                    experiments.symlink_to(CHECKOUT / "experiments")
                    Check(stpn, place).run(cluster, many_runs_are_home, *arguments)
        finally:
            cluster.shutdown()


if __name__ == "__main__":
    main()
