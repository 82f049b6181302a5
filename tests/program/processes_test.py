"""`mpirun -n N stpn train`: same bits as one process, one clear line for every failure, no rank left behind.

The environment variable STPN_HAS_MPI is 1 if the program was built with MPI. tests/clusters/mpi_check.py does
more, and takes longer.
"""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import time
import unittest

import support

HAS_MPI = os.environ.get("STPN_HAS_MPI") == "1"
PPO = """[task]
name = "hold"
test = 10

[unit]
name = "stpn_feedforward"
hidden_size = 6

[train]
algorithm = "ppo"
steps = 13000
environments = 140
rollout_length = 23
minibatch_steps = 2500
passes = 2
report_every = 2
"""


class Alone(support.ProgramTest):

    def test_without_mpi_the_first_of_several_processes_says_so(self):
        if HAS_MPI:
            self.skipTest("this program has MPI")
        for rank in (0, 1):
            environment = {**os.environ, "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": str(rank)}
            code, out, err = self.run_stpn("train", "small.toml", env=environment)
            self.assertEqual((code, out), (2, ""))
            if rank == 0:
                self.expect_one_line(err, "mpirun has started 2 processes", "built without MPI")
            else:
                self.assertEqual(err, "")

    def test_independent_runs_of_a_launcher_that_is_not_told_so_do_not_end_as_done(self):
        environment = {**os.environ, "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "1"}
        code, out, err = self.run_stpn("train", "small.toml", "--out", "run", env=environment)
        self.assertEqual((code, out, err), (2, "", ""))  # process 0 says why
        code, out, err = self.run_stpn("train", "small.toml", "--out", "run",
                                       env={**environment, "SLURM_PROCID": "0"})
        self.assertEqual((code, out), (2, ""))
        self.expect_one_line(err, "srun has started 4 processes", "STPN_ALONE=1")

    def test_stpn_alone_makes_a_run_of_its_own(self):
        environment = {**os.environ, "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "1", "STPN_ALONE": "1"}
        code, out, err = self.run_stpn("train", "small.toml", "--set", "train.epochs=1", "--out", "run",
                                       env=environment)
        self.assertEqual(code, 0, err)
        self.assertEqual(out.splitlines()[-1], "run")

    def test_a_command_of_one_process_says_so(self):
        self.write("random.toml", '[task]\nname = "maze"\n[policy]\nname = "random"\n')
        environment = {**os.environ, "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"}
        for words in (("reproduce", "toy"), ("verify", "absent.json"), ("report",), ("eval", "random.toml")):
            code, out, err = self.run_stpn(*words, env=environment)
            self.assertEqual((code, out), (2, ""))
            self.expect_one_line(err, "mpirun has started 2 processes", f"`{words[0]}`", "alone")

    def test_a_batch_script_of_slurm_is_one_process(self):
        environment = {**os.environ, "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}
        code, _, err = self.run_stpn("train", "small.toml", "--set", "train.epochs=1", "--out", "run",
                                     env=environment)
        self.assertEqual(code, 0, err)


@unittest.skipUnless(HAS_MPI and shutil.which("mpirun"), "there is no MPI")
class Together(support.ProgramTest):

    def setUp(self):
        super().setUp()
        self.write("ppo.toml", PPO)

    def mpirun(self, processes, *arguments):
        return self.start(processes, "train", *arguments, "--threads", 1)

    def start(self, processes, *arguments):
        command = ["mpirun", "-n", processes, "--oversubscribe", "--bind-to", "none", support.STPN, *arguments]
        environment = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        return subprocess.Popen([str(word) for word in command], cwd=self.folder, env=environment, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def together(self, processes, *arguments):
        with self.mpirun(processes, *arguments) as process:
            out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def our_lines(self, err):
        return [line for line in err.splitlines() if line.startswith("stpn: ")]

    def expect_same_last(self, one, two):
        self.assertEqual(self.metrics(one), self.metrics(two))
        first, second = (support.tensors(self.folder / run / "checkpoint/last.safetensors")
                         for run in (one, two))
        self.assertEqual(first, second)

    def test_bits_and_output_are_those_of_one_process(self):
        for name, settings in (("small", ["--set", "train.batch_size=300", "--set", "train.epochs=2"]),
                               ("rl", ["--set", "train.episodes=140"]), ("ppo", [])):
            expected = self.succeed("train", f"{name}.toml", "--out", f"{name}1", *settings)
            for processes in (2, 3):
                run = f"{name}{processes}"
                code, out, err = self.together(processes, f"{name}.toml", "--out", run, *settings)
                self.assertEqual(code, 0, err)
                self.expect_same_last(f"{name}1", run)
                # Once, not once for each process.
                self.assertEqual(len(out.splitlines()), len(expected.splitlines()))
                self.assertEqual(out.splitlines()[-1], run)
        self.expect_same_run("small1", "small3")

    def test_errors_are_one_line_of_the_first_process(self):
        for arguments, code, part in ((("absent.toml",), 2, "absent.toml"),
                                      (("small.toml", "--seeed", "1"), 2, "--seeed"),
                                      (("small.toml", "--out", "."), 2, "exists already"),
                                      (("small.toml", "--set", "train.learning_rate=1e38"), 1, "loss is")):
            returned, out, err = self.together(2, *arguments)
            self.assertEqual((returned, out), (code, ""), err)
            line, = self.our_lines(err)
            self.assertIn(part, line)

    def test_an_error_after_the_last_message_is_of_one_process(self):
        self.succeed("train", "rl.toml", "--set", "train.iterations=2", "--out", "run", "--quiet")
        with self.start(2, "eval", "run", "--trace", "rl.toml/trace", "--process-timeout", 60) as process:
            out, err = process.communicate(timeout=120)
        self.assertEqual((process.returncode, out), (1, ""), err)
        line, = self.our_lines(err)
        self.assertIn("rl.toml/trace", line)
        self.assertNotIn("MPI_ABORT", err.upper())

    def rank(self, mpirun, rank):
        """The process of a rank, once it has written a line of metrics."""
        end = time.monotonic() + 60
        metrics = self.folder / "broken/metrics.jsonl"
        before = metrics.read_bytes() if metrics.exists() else b""
        while not metrics.exists() or metrics.read_bytes() == before:
            if time.monotonic() > end:
                raise TimeoutError
            time.sleep(0.01)
        for child in pathlib.Path(f"/proc/{mpirun.pid}/task/{mpirun.pid}/children").read_text().split():
            variables = pathlib.Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            if f"OMPI_COMM_WORLD_RANK={rank}".encode() in variables:
                return int(child)
        raise ValueError(rank)

    def test_a_run_that_lost_a_process_ends_and_resumes_with_another_number(self):
        settings = ["small.toml", "--set", "train.batch_size=300", "--set", "train.epochs=150", "--quiet"]
        self.succeed("train", *settings, "--out", "whole")
        broken = [*settings, "--out", "broken", "--resume", "--process-timeout", 2]
        for processes, rank, number in ((2, 1, signal.SIGKILL), (3, 0, signal.SIGSTOP), (2, 1, signal.SIGSTOP)):
            with self.mpirun(processes, *broken) as process:
                os.kill(self.rank(process, rank), number)
                start = time.monotonic()
                _, err = process.communicate(timeout=120)
            self.assertLess(time.monotonic() - start, 60)  # of 2 + 2 seconds; the machine may be busy
            self.assertNotEqual(process.returncode, 0)
            if number == signal.SIGKILL:  # found by mpirun
                self.assertTrue(re.search(r"rank 1 .*signal 9", err), err)
            else:
                line, = self.our_lines(err)
                self.assertIn(f"process {rank} of {processes} has not answered for 2 s", line)
                self.assertIn("--resume", line)
        self.assertFalse((self.folder / "broken/summary.json").exists(), "the run was too short")
        code, _, err = self.together(3, *broken)
        self.assertEqual(code, 0, err)
        self.expect_same_run("whole", "broken")


if __name__ == "__main__":
    support.main()
