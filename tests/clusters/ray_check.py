"""`stpn reproduce --ray` on a cluster of two workers, of which one is killed half-way: takes minutes, and
needs Ray (python/requirements-ray.txt), so it is not part of `make test`. docs/clusters.md shows its output.

tests/clusters/ray_check.py build/bin/stpn [--task TASK] [--budget BUDGET]     in a Python with Ray

Compares every file of every run with that of the local pool, but for wall-clock times.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from ray.cluster_utils import Cluster  # type: ignore[import-not-found]

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "program"))
import support  # noqa: E402

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
TIMES = ("wall_seconds", "seconds_per_epoch", "seconds_per_iteration", "steps_per_second")


def without_times(text):
    content = json.loads(text)
    for key in TIMES:
        content.pop(key, None)
        content.get("metrics", {}).pop(key, None)
    return content


def content(path):
    """Of a file of a run folder, without wall-clock times."""
    if path.suffix == ".safetensors":
        return support.tensors(path)
    if path.name == "metrics.jsonl":
        return [without_times(line) for line in path.read_text().splitlines()]
    if path.name == "summary.json":
        return without_times(path.read_text())
    return path.read_bytes()


def files(folder):
    return {path.relative_to(folder).as_posix(): content(path)
            for path in sorted(folder.rglob("*")) if path.is_file() and len(path.relative_to(folder).parts) > 3}


def children(pid):
    return [int(word) for task in pathlib.Path(f"/proc/{pid}/task").iterdir()
            for word in (task / "children").read_text().split()]


def processes_below(pid):
    found = []
    for child in children(pid):
        found += [child, *processes_below(child)]
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("stpn", type=pathlib.Path)
    parser.add_argument("--task", default="retrieval")
    parser.add_argument("--budget", default="smoke")
    given = parser.parse_args()
    stpn = given.stpn.resolve()
    os.environ["STPN_PYTHON"] = sys.executable
    with tempfile.TemporaryDirectory(prefix="stpn_ray_") as place:
        place = pathlib.Path(place)
        (place / "experiments").symlink_to(CHECKOUT / "experiments")

        def reproduce(out, *more):
            return subprocess.Popen([stpn, "reproduce", given.task, "--budget", given.budget,
                                     "--runs-only", "--out", out, *more], cwd=place,
                                    stderr=subprocess.PIPE, text=True)

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
            start = time.monotonic()
            lines = []
            with reproduce("on_ray", "--ray", cluster.address) as process:
                for line in process.stderr:
                    print(f"{time.monotonic() - start:6.1f} s  {line}", end="", flush=True)
                    lines.append(line)
                    done = sum(": done" in line for line in lines)
                    runs = int(lines[0].split()[0])
                    if nodes and done >= runs // 2:
                        # All of a machine at once: its raylet, its workers, and what these run.
                        raylet = nodes.pop().all_processes["raylet"][0].process.pid
                        for pid in [raylet, *processes_below(raylet)]:
                            try:
                                os.kill(pid, signal.SIGKILL)
                            except ProcessLookupError:
                                pass
                        print(f"{time.monotonic() - start:6.1f} s  -- a worker is killed", flush=True)
                        nodes = []
            if process.returncode != 0:
                sys.exit(f"reproduce --ray ended with exit code {process.returncode}")
        finally:
            cluster.shutdown()
        with reproduce("locally") as process:
            _, errors = process.communicate()
        if process.returncode != 0:
            sys.exit(errors)
        one, two = files(place / "on_ray"), files(place / "locally")
        different = [name for name in one.keys() | two.keys() if one.get(name) != two.get(name)]
        if different:
            sys.exit(f"different: {', '.join(sorted(different))}")
        print(f"{len(one)} files of {runs} runs are those of the local pool")


if __name__ == "__main__":
    main()
