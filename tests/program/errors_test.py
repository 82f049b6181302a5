"""Invalid input gives one line on stderr that says what is wrong, exit code 2 and no new files."""

import os
import pathlib
import subprocess
import unittest.mock

import support


class Errors(support.ProgramTest):
    def train(self, *arguments):
        return ("train", "small.toml", *arguments)

    def test_unknown_key_names_the_nearest(self):
        self.expect_user_error(self.train("--set", "unit.hiden_size=3"), "hiden_size",
                               "hidden_size")
        self.write("typo.toml", support.EXPERIMENT.replace("epochs", "epoch"))
        self.expect_user_error(("train", "typo.toml"), "typo.toml:15", "epoch", "epochs")

    def test_unknown_table_unit_task_or_algorithm(self):
        self.expect_user_error(self.train("--set", "model.size=3"), "model")
        self.expect_user_error(self.train("--set", "unit.name=lstmm"), "lstmm", "lstm")
        self.expect_user_error(self.train("--set", "task.name=maze"), "maze")
        self.expect_user_error(self.train("--set", "train.algorithm=sarsa"), "sarsa", "supervised")

    def test_wrong_type(self):
        self.expect_user_error(self.train("--set", "unit.hidden_size=wide"), "hidden_size", "wide")
        self.expect_user_error(self.train("--set", "unit.hidden_size=2.5"), "hidden_size", "2.5")
        self.expect_user_error(self.train("--set", "train.epochs=true"), "epochs", "true")
        self.expect_user_error(self.train("--set", "task.pairs=[1]"), "pairs")

    def test_impossible_values(self):
        self.expect_user_error(self.train("--set", "unit.hidden_size=0"), "hidden_size", "0")
        self.expect_user_error(self.train("--set", "unit.hidden_size=-3"), "hidden_size", "-3")
        self.expect_user_error(self.train("--set", "task.pairs=0"), "pairs", "0")
        self.expect_user_error(self.train("--set", "task.pairs=-1"), "pairs", "-1")
        self.expect_user_error(self.train("--set", "task.pairs=1000"), "1000")
        self.expect_user_error(self.train("--set", "train.batch_size=2001"), "2001", "2000")
        self.expect_user_error(self.train("--set", "train.learning_rate=-1"), "learning_rate")
        self.expect_user_error(self.train("--seed", "-1"), "seed", "-1")
        self.expect_user_error(self.train("--threads", "0"), "threads")
        self.expect_user_error(self.train("--threads", "100000000"), "threads")
        self.expect_user_error(self.train("--device", "gpu"), "gpu", "cuda:N")
        self.expect_user_error(self.train("--device", "cuda:99"), "cuda:99")
        self.expect_user_error(self.train("--set", "train.learning_rate=inf"), "learning_rate")
        self.expect_user_error(self.train("--set", "unit.hidden_size=1000000000"), "hidden_size")

    def test_renamed_key_names_the_new_one(self):
        def message(table, key, value, new_key):
            return f"[{table}] {key} = {value}: this key is now called {new_key}"

        renamed = {"largest_gradient": "max_grad_norm", "concentration_weight": "policy_l2_weight",
                   "fragment": "rollout_length"}
        for old_key, key in renamed.items():
            self.write("old.toml", support.RL_EXPERIMENT + f"{old_key} = 0\n")
            self.expect_user_error(("train", "old.toml"), "old.toml:19: ",
                                   message("train", old_key, 0, key))
            self.expect_user_error(("train", "rl.toml", "--set", f"train.{old_key}=0"),
                                   message("train", old_key, 0, key))

    def test_renamed_value_names_the_new_one(self):
        for key, old_value, value in (("norm", "drive", "preactivation"),
                                      ("rates", "source", "presynaptic"),
                                      ("bias_rates", "unit", "neuron")):
            self.expect_user_error(
                ("train", "rl.toml", "--set", f"unit.{key}={old_value}"),
                f'[unit] {key} = "{old_value}": this value is now called "{value}"')

    def test_run_of_an_older_version_names_the_new_key(self):
        self.succeed("train", "rl.toml", "--out", "run", "--quiet")
        config = self.folder / "run" / "config.toml"
        checkpoint = self.folder / "run" / "checkpoint" / "last.safetensors"
        resume = ("train", "rl.toml", "--out", "run", "--resume", "--set", "train.iterations=8")
        new, old = "policy_l2_weight", "concentration_weight"
        whole = config.read_text()
        config.write_text(whole.replace(new, old))
        for arguments in (("eval", "run"), resume):
            self.expect_user_error(arguments, "run/config.toml:", f"this key is now called {new}")
        config.write_text(whole)
        support.replace_in_metadata(checkpoint, new, old)
        for arguments in (("eval", "run"), resume):
            self.expect_user_error(arguments, "run/checkpoint/last.safetensors:",
                                   f"this key is now called {new}")

    def test_unknown_backend(self):
        with unittest.mock.patch.dict(os.environ, STPN_BACKEND="fast"):
            self.expect_user_error(self.train("--set", "unit.name=stpn_recurrent"), "STPN_BACKEND")

    def test_missing_name(self):
        self.write("none.toml", support.EXPERIMENT.replace('name = "lstm"\n', ""))
        self.expect_user_error(("train", "none.toml"), "[unit] name")

    def test_file_that_is_missing_or_not_an_experiment(self):
        self.expect_user_error(("train", "absent.toml"), "absent.toml")
        self.expect_user_error(("train", "."), ".")
        self.expect_user_error(("train", "/dev/zero"), "/dev/zero")
        for name, content in {"empty.toml": "", "prose.toml": "Dear reader,\nhello.\n",
                              "json.toml": '{"task": 1}', "bytes.toml": bytes(range(256)),
                              "list.toml": "[[task]]\nname = 'x'\n",
                              "half.toml": support.EXPERIMENT[:30]}.items():
            with self.subTest(name):
                self.write(name, content)
                self.expect_user_error(("train", name), name)

    def test_game_and_rom_of_atari(self):
        self.write("atari.toml", '[task]\nname = "atari"\n[policy]\nname = "random"\n')
        self.write("short.bin", "no game")

        def expect(setting, *parts):
            self.expect_user_error(("eval", "atari.toml", "--set", setting), *parts)

        if "setup.sh ale" in self.run_stpn("eval", "atari.toml", "--episodes", 1)[2]:
            return expect("task.game=pong", "cmake/setup.sh ale", "STPN_WITH_ALE")
        expect("task.game=pnog", "pnog", "did you mean pong")
        expect("task.game=tetris", "tetris", "choose another game")
        expect("task.rom=absent.bin", "absent.bin", "no such file", "leave task.rom empty")
        expect("task.rom=short.bin", "short.bin", "MD5", "leave task.rom empty")

    def test_command_line(self):
        self.expect_user_error((), "subcommand")
        self.expect_user_error(("trian",), "trian", "train")
        self.expect_user_error(("train",), "EXPERIMENT")
        self.expect_user_error(self.train("--set", "nonsense"), "nonsense")
        self.expect_user_error(self.train("--set"), "--set")
        self.expect_user_error(self.train("--fast"), "--fast")
        self.expect_user_error(self.train("--seed", "one"), "--seed")
        self.expect_user_error(("list", "dogs"), "dogs", "see stpn list --help")
        self.expect_user_error(("list", "units", "lstmm"), "no unit lstmm", "did you mean lstm?")
        self.expect_user_error(("list", "tasks", "mazes"), "no task mazes", "did you mean maze?")
        self.expect_user_error(("list", "trainers", "x"), "no trainer x", "supervised, actor_critic")
        self.expect_user_error(("list", "ops", "lstm"), "no op lstm", "stpn_recurrent")
        self.expect_user_error(("list", "units", "lstm", "gru"), "gru")

    def test_run_folder_that_exists_or_has_another_experiment(self):
        self.succeed(*self.train("--out", "run", "--set", "train.epochs=1", "--quiet"))
        self.expect_user_error(self.train("--out", "run"), "--resume", "--out")
        self.expect_user_error(self.train("--out", "run", "--resume", "--seed", "2"),
                               "train.seed", "1", "2")
        self.expect_user_error(self.train("--out", "small.toml"), "small.toml")
        self.expect_user_error(self.train("--out", "small.toml/run"), "small.toml/run")
        self.expect_user_error(self.train("--out", ".", "--resume"), "not a run folder")

    def test_last_checkpoint_that_is_missing(self):
        run = self.folder / "run"
        resume = self.train("--out", "run", "--resume", "--set", "train.epochs=2")
        self.succeed(*self.train("--out", "run", "--set", "train.epochs=2", "--quiet"))
        (run / "checkpoint/last.safetensors").rename(self.folder / "last")
        there = ("last.safetensors is missing", "metrics.jsonl (epochs: 2)",
                 "checkpoint/best.safetensors, summary.json", "put that file back", "--out")
        self.expect_user_error(resume, *there)
        self.expect_user_error((*resume, "--set", "train.epochs=9"), *there)
        (run / "config.toml").rename(self.folder / "config")
        self.expect_user_error(resume, "not a run folder", "config.toml")
        (self.folder / "config").rename(run / "config.toml")
        (self.folder / "last").rename(run / "checkpoint/last.safetensors")
        self.assertIn("finished", self.succeed(*resume))

    def test_metrics_that_are_missing(self):
        self.succeed(*self.train("--out", "run", "--set", "train.epochs=1", "--quiet"))
        (self.folder / "run/metrics.jsonl").unlink()
        self.expect_user_error(self.train("--out", "run", "--resume", "--set", "train.epochs=2"),
                               "metrics.jsonl")

    def test_file_that_is_not_a_golden_file(self):
        self.expect_user_error(("verify", "absent.json"), "absent.json")
        self.write("deep.json", '{"config": ' + "[" * 300000 + "]" * 300000 + "}")
        self.expect_user_error(("verify", "deep.json"), "deep.json")

    def test_standard_error_that_is_full_changes_no_exit_code(self):
        with open("/dev/full", "w") as full:
            for arguments, code in {("list", "dogs"): 2,
                                    self.train("--set", "train.epochs=1"): 0}.items():
                run = subprocess.run([support.STPN, *arguments], cwd=self.folder,
                                     stdout=subprocess.DEVNULL, stderr=full)
                self.assertEqual(run.returncode, code)

    def test_truncated_or_foreign_checkpoint(self):
        arguments = self.train("--out", "run", "--resume", "--set", "train.epochs=2")
        self.succeed(*self.train("--out", "run", "--set", "train.epochs=1", "--quiet"))
        self.succeed(*self.train("--out", "wide", "--set", "train.epochs=1", "--quiet", "--set",
                                 "unit.hidden_size=7"))
        for name in ("last", "best"):
            checkpoint = pathlib.Path("run", "checkpoint", f"{name}.safetensors")
            whole = (self.folder / checkpoint).read_bytes()
            foreign = (self.folder / "wide" / "checkpoint" / f"{name}.safetensors").read_bytes()
            for content in (b"", whole[:5], whole[:100], whole[:-1], whole + b"0", b"\xff" * 999,
                            b"prose, and rather a lot of it", foreign):
                self.write(checkpoint, content)
                self.expect_user_error(arguments, str(checkpoint))
                if name == "best":
                    self.expect_user_error(("eval", "run"), str(checkpoint))
            self.write(checkpoint, whole)
        self.succeed(*arguments, "--quiet")

    def test_eval_of_a_path_that_is_not_a_run(self):
        self.expect_user_error(("eval", "absent"), "absent")
        self.expect_user_error(("eval", "small.toml"), "small.toml")
        self.expect_user_error(("eval", "."), ".")
        self.succeed(*self.train("--out", "run", "--set", "train.epochs=1", "--quiet"))
        self.expect_user_error(("eval", "run", "--episodes", "501"), "501", "500")
        self.expect_user_error(("eval", "run", "--episodes", "0"), "--episodes")


if __name__ == "__main__":
    support.main()
