"""Complete runs: killed and resumed, on several threads, on a full disk; eval and list."""

import json
import random
import resource
import signal
import time

import support


class Runs(support.ProgramTest):
    def train(self, out, *arguments):
        return ("train", "small.toml", "--out", out, *arguments)

    def test_run_folder_and_output(self):
        code, out, err = self.run_stpn("train", "small.toml", "--seed", "3", "--set",
                                       "train.epochs=2")
        self.assertEqual(code, 0, err)
        run = "runs/associative_retrieval/small/seed3"
        self.assertIn(run, out)
        self.assertEqual([line.split()[1] for line in err.splitlines()], ["1/2", "2/2"])
        self.assertNotIn("\r", err)
        self.assertEqual(sorted(str(path.relative_to(self.folder / run))
                                for path in (self.folder / run).rglob("*") if path.is_file()),
                         ["checkpoint/best.safetensors", "checkpoint/last.safetensors",
                          "config.toml", "lock", "metrics.jsonl", "summary.json"])
        summary = json.loads((self.folder / run / "summary.json").read_text())
        self.assertEqual((summary["model"], summary["seed"], summary["steps"]), ("small", 3, 80))

        # config.toml is an experiment itself and gives the same run.
        self.assertEqual(self.succeed("train", f"{run}/config.toml", "--out", "again", "--quiet"),
                         "")
        self.assertEqual(self.metrics(run), self.metrics("again"))

    def test_killed_at_any_moment_and_resumed_ends_in_the_same_bits(self):
        start = time.monotonic()
        self.succeed(*self.train("whole", "--quiet"))
        duration = time.monotonic() - start
        generator = random.Random(1)
        kills = 0
        for _ in range(40):
            with self.popen(*self.train("broken", "--resume", "--quiet")) as process:
                try:
                    process.wait(generator.uniform(0, 0.8 * duration))
                except support.subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    kills += 1
                    continue
                self.assertEqual(process.returncode, 0, process.stderr.read())
                break
        else:
            self.succeed(*self.train("broken", "--resume", "--quiet"))
        self.assertGreater(kills, 0)
        self.expect_same_run("whole", "broken")

        before = self.snapshot()
        self.assertIn("finished", self.succeed(*self.train("broken", "--resume")))
        self.assertEqual(self.snapshot(), before)

    def test_interrupted_before_anything_was_written(self):
        (self.folder / "run").mkdir()
        self.write("run/config.toml.99.0.tmp", "[task]\nna")
        self.succeed(*self.train("run", "--resume", "--quiet", "--set", "train.epochs=1"))

    def test_only_one_process_works_on_a_run(self):
        with self.popen(*self.train("run", "--set", "train.epochs=100000")) as first:
            try:
                self.assertIn("epoch 1/", first.stderr.readline())
                code, out, err = self.run_stpn(*self.train("run", "--resume"))
                self.assertEqual((code, out), (2, ""), err)
                self.expect_one_line(err, "run", "another process", "--out")
            finally:
                first.kill()
        # When a process is killed, its lock is released.
        self.succeed(*self.train("run", "--resume", "--quiet", "--set", "train.epochs=1"))

    def test_threads_change_no_bit(self):
        for unit in ("lstm", "stpn_recurrent"):
            for threads in (1, 2):
                self.succeed(*self.train(f"{unit}{threads}", "--threads", threads, "--quiet",
                                         "--set", f"unit.name={unit}", "--set", "train.epochs=2",
                                         "--set", "train.batch_size=128"))
            self.expect_same_run(f"{unit}1", f"{unit}2")

    def test_full_disk_is_a_failure_that_leaves_the_last_checkpoint(self):
        self.succeed(*self.train("whole", "--quiet"))
        self.succeed(*self.train("run", "--quiet", "--set", "train.epochs=2"))
        last = self.folder / "run" / "checkpoint" / "last.safetensors"
        best = self.folder / "run" / "checkpoint" / "best.safetensors"
        before = last.read_bytes(), best.read_bytes()
        metrics_size = (self.folder / "run" / "metrics.jsonl").stat().st_size
        # With the first limit a checkpoint does not fit, with the second the metrics.
        for limit in (len(before[0]) // 2, metrics_size + 10):
            self.assertGreater(len(before[0]), limit)

            def small_disk(limit=limit):
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

            code, out, err = self.run_stpn(*self.train("run", "--resume", "--quiet"),
                                           preexec_fn=small_disk)
            self.assertEqual((code, out), (1, ""), err)
            self.expect_one_line(err, "run/")
            self.assertEqual((last.read_bytes(), best.read_bytes()), before)
            self.assertEqual([path for path in (self.folder / "run").rglob("*.tmp")], [])
        self.succeed(*self.train("run", "--resume", "--quiet"))
        self.expect_same_run("whole", "run")

    def test_divergence_is_a_failure_that_names_epoch_and_step(self):
        code, out, err = self.run_stpn(*self.train("run", "--quiet", "--set",
                                                   "train.learning_rate=1e38"))
        self.assertEqual((code, out), (1, ""))
        self.expect_one_line(err, "epoch 1", "step ", "checkpoint")

    def test_eval(self):
        self.succeed(*self.train("run", "--quiet"))
        summary = json.loads((self.folder / "run" / "summary.json").read_text())
        result = json.loads(self.succeed("eval", "run", "--json"))
        self.assertEqual(result["sequences"], 500)
        self.assertEqual(result["epoch"], summary["metrics"]["best_epoch"])
        for name in ("test_accuracy", "energy_per_step", "energy_per_sequence"):
            self.assertEqual(result["metrics"][name], summary["metrics"][name])
        self.assertEqual(json.loads(self.succeed("eval", "run", "--episodes", 7, "--json"))
                         ["sequences"], 7)
        self.assertIn(f"{summary['metrics']['test_accuracy']:.4g}", self.succeed("eval", "run"))

    def test_eval_on_another_task(self):
        self.succeed(*self.train("run", "--quiet"))
        alone = json.loads(self.succeed("eval", "run", "--json"))
        same = json.loads(self.succeed("eval", "run", "--json", "--set", "task.training=900"))
        self.assertEqual(same["metrics"], alone["metrics"])
        harder = json.loads(self.succeed("eval", "run", "--json", "--set", "task.pairs=5",
                                         "--set", "task.test=70"))
        self.assertEqual(harder["sequences"], 70)
        self.assertEqual(harder["settings"], ["task.pairs=5", "task.test=70"])
        self.assertLess(harder["baselines"]["no_binding_accuracy"],
                        alone["baselines"]["no_binding_accuracy"])
        self.assertIn("with task.pairs=5", self.succeed("eval", "run", "--set", "task.pairs=5"))

        def refused(setting, *parts):
            self.expect_user_error(("eval", "run", "--set", setting), *parts)

        refused("task.keys=30", "task.keys=30", "another size", "run")
        refused("unit.hidden_size=3", "unit.hidden_size=3", "task.KEY")
        refused("train.seed=3", "train.seed=3", "task.KEY")
        refused("task.name=maze", "task.name=maze", "task.KEY")
        refused("task.pears=3", "pears", "pairs")
        refused("task.pairs=99", "pairs = 99")

    def test_list_help_and_version(self):
        units = self.succeed("list", "units")
        self.assertIn("stpn_recurrent: ", units)
        self.assertIn("  hidden_size = 11 ", units)
        self.assertIn("  pairs = 3 ", self.succeed("list", "tasks"))
        lstm = self.succeed("list", "units", "lstm")
        self.assertTrue(lstm.startswith("lstm: "), lstm)
        self.assertIn(lstm, units)
        self.assertNotIn("lstm_", lstm)
        self.assertIn("  size = ", self.succeed("list", "tasks", "maze"))
        self.assertNotIn("maze", self.succeed("list", "tasks", "associative_retrieval"))
        self.assertIn("  epochs = ", self.succeed("list", "trainers", "supervised"))
        self.assertIn("weight_lambda", self.succeed("list", "ops", "stpn_recurrent"))
        (self.folder / "experiments" / "retrieval").mkdir(parents=True)
        (self.folder / "small.toml").rename(self.folder / "experiments/retrieval/small.toml")
        self.assertEqual(self.succeed("list", "experiments"),
                         "experiments/retrieval/small.toml: A small experiment.\n")
        self.assertEqual(self.succeed("list", "experiments", "retrieval/small"),
                         "experiments/retrieval/small.toml: A small experiment.\n")
        for command in ("train", "eval", "list"):
            self.assertIn("--help", self.succeed(command, "--help"))
        self.assertRegex(self.succeed("--version"), r"^stpn \d+\.\d+\.\d+\n$")


if __name__ == "__main__":
    support.main()
