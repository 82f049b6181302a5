"""Runs as tasks of a cluster, with a stand-in for Ray that runs each task when its result is asked for.
tests/clusters/ray_check.py has a real cluster."""

import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import types
import unittest
import unittest.mock
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests/program"))
import support  # noqa: E402

from stpn import ray_runs  # noqa: E402


class RayError(Exception):
    pass


class NodeDiedError(RayError):
    pass


class Cluster:
    """What ray_runs uses of the module ray. `lost`: the numbers of the tasks whose workers are lost."""

    def __init__(self, lost=()):
        self.lost, self.tasks, self.resources = lost, [], {}
        self.exceptions = types.SimpleNamespace(
            RayError=RayError, NodeDiedError=NodeDiedError, WorkerCrashedError=NodeDiedError,
            OutOfMemoryError=NodeDiedError, ObjectLostError=NodeDiedError)

    def remote(self, function):
        def submit(*arguments):
            self.tasks.append((function, arguments))
            return len(self.tasks) - 1

        def options(**given):
            self.resources = given
            return types.SimpleNamespace(remote=submit)
        return types.SimpleNamespace(options=options)

    def wait(self, references, num_returns):
        return references[:num_returns], references[num_returns:]

    def get(self, reference):
        if reference in self.lost:
            raise NodeDiedError
        function, arguments = self.tasks[reference]
        return function(*arguments)


def run_of(name, *arguments):
    return {"name": name, "experiment": "toy/lstm.toml", "text": support.EXPERIMENT,
            "arguments": ["--seed", "2", *arguments], "epochs": 8}


class RayRuns(unittest.TestCase):

    def setUp(self):
        holder = tempfile.TemporaryDirectory(prefix="stpn_ray_runs_")
        self.addCleanup(holder.cleanup)
        self.folder = Path(holder.name)
        self.home = self.folder / "home"

    def run_all(self, cluster, *runs, **more):
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            failed = ray_runs.run_all(cluster, {"program": os.environ["STPN_PROGRAM"], "runs": list(runs)},
                                      self.home, **more)
        return failed, said.getvalue().splitlines()

    def expect_run_of_train(self, name, *arguments):
        experiment = self.folder / "toy/lstm.toml"
        experiment.parent.mkdir(exist_ok=True)
        experiment.write_text(support.EXPERIMENT)
        alone = self.folder / "alone"
        subprocess.run([os.environ["STPN_PROGRAM"], "train", experiment, "--out", alone, "--quiet", "--seed", "2",
                        *arguments], check=True)
        found, expected = (
            {path: support.tensors(folder / path) for path in ("checkpoint/last.safetensors",
                                                              "checkpoint/best.safetensors")}
            for folder in (self.home / name, alone))
        self.assertEqual(found, expected)
        summaries = [json.loads((folder / "summary.json").read_text()) for folder in (self.home / name, alone)]
        for summary in summaries:
            del summary["wall_seconds"], summary["metrics"]["seconds_per_epoch"]
        self.assertEqual(*summaries)
        self.assertEqual(sorted(path.name for path in (self.home / name).rglob("*")),
                         sorted(path.name for path in alone.rglob("*")))

    def test_a_run_in_slices_that_loses_workers_is_that_of_train(self):
        cluster = Cluster(lost=(1, 2))
        settings = ("--set", "train.epochs=24")
        failed, said = self.run_all(cluster, run_of("a/lstm/seed2", *settings), seconds=0)
        self.assertEqual(failed, [])
        self.assertGreater(len(cluster.tasks), 3)
        lost = [line for line in said if "its worker is lost" in line]
        self.assertEqual(len(lost), 2)
        for line in lost:
            self.assertRegex(line, r"a/lstm/seed2: .* \(NodeDiedError\); it goes on from epoch [1-9]")
        self.assertRegex(said[-1], r"^a/lstm/seed2: done \(1/1 done, 0:00:00 left\)$")
        self.assertEqual(cluster.resources["num_cpus"], 1)
        self.expect_run_of_train("a/lstm/seed2", *settings)

    def test_a_run_that_loses_every_worker_fails(self):
        failed, said = self.run_all(Cluster(lost=range(100)), run_of("a"), seconds=60)
        self.assertEqual(failed, ["a"])
        self.assertIn("was lost 5 times in a row", said[-1])

    def test_a_program_that_is_killed_is_a_lost_worker(self):
        killed = self.folder / "killed"
        killed.write_text("#!/bin/sh\nkill -9 $$\n")
        killed.chmod(0o755)
        with unittest.mock.patch.dict(os.environ, STPN_PROGRAM=str(killed)):
            failed, said = self.run_all(Cluster(), run_of("a"))
        self.assertEqual(failed, ["a"])
        self.assertIn("a: its worker is lost (signal 9); it goes on from epoch 0", said[0])
        self.assertIn("was lost 5 times in a row", said[-1])

    def test_a_program_that_does_nothing_has_not_done_its_run(self):
        with unittest.mock.patch.dict(os.environ, STPN_PROGRAM="true"):
            failed, said = self.run_all(Cluster(), run_of("a"))
        self.assertEqual(failed, ["a"])
        self.assertIn("without a summary.json", said[-1])

    def test_a_worker_that_srun_started_is_alone(self):
        with unittest.mock.patch.dict(os.environ, SLURM_STEP_NUM_TASKS="4", SLURM_PROCID="1"):
            failed, _ = self.run_all(Cluster(), run_of("a"))
        self.assertEqual(failed, [])

    def test_files_that_have_not_come_home_are_removed_there(self):
        ray_runs.write_folder(self.home, {"config.toml": b"1", "checkpoint/best.safetensors": b"2",
                                          "summary.json": b"3"})
        files = {"config.toml": b"4", "checkpoint/last.safetensors": b"5"}
        ray_runs.write_folder(self.home, files)
        self.assertEqual(ray_runs.read_folder(self.home), files)

    def test_a_task_fits_on_a_live_machine_with_a_cpu_and_a_gibibyte(self):
        room = {"CPU": 1.0, "memory": 2.0**30}
        self.assertTrue(ray_runs.fits({"Alive": True, "Resources": room}))
        self.assertFalse(ray_runs.fits({"Alive": False, "Resources": room}))
        self.assertFalse(ray_runs.fits({"Alive": True, "Resources": {**room, "memory": 2.0**29}}))
        self.assertFalse(ray_runs.fits({"Alive": True, "Resources": {"memory": 2.0**30}}))

    def test_an_error_without_text_is_named(self):
        self.assertEqual(ray_runs.last_line(RayError("one\ntwo\n")), "two")
        self.assertEqual(ray_runs.last_line(RayError()), "RayError()")

    def test_a_run_that_fails_stops_no_other(self):
        failed, said = self.run_all(Cluster(), run_of("bad", "--set", "train.learning_rate=1e38"), run_of("good"),
                                    jobs=1)
        self.assertEqual(failed, ["bad"])
        self.assertRegex(said[0], r"^bad: failed with exit code 1: loss is .* \(1/2 done")
        self.assertTrue((self.home / "bad/diverged").exists())
        self.expect_run_of_train("good")

    def test_an_address_where_nothing_listens_is_found_at_once(self):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))  # but does not listen
            address = f"ray://127.0.0.1:{listener.getsockname()[1]}"
            with self.assertRaises(OSError):
                ray_runs.check_address(address)
            listener.listen()
            ray_runs.check_address(address)
        ray_runs.check_address("auto")


if __name__ == "__main__":
    unittest.main()
