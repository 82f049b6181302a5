"""A reinforcement-learning task from the command line: untrained policies, and training an agent."""

import json

import support

ORACLE = """[task]
name = "maze"
size = 7

[policy]
name = "oracle"
"""


class Maze(support.ProgramTest):
    def setUp(self):
        super().setUp()
        self.write("oracle.toml", ORACLE)

    def eval(self, *arguments):
        return json.loads(self.succeed("eval", "oracle.toml", "--json", *arguments))

    def test_prints_one_json_object(self):
        result = self.eval("--episodes", "600")
        metrics = result.pop("metrics")
        self.assertEqual(result, {"experiment": f"{self.folder.name}/oracle", "task": "maze",
                                  "policy": "oracle", "seed": 1, "episodes": 600})
        self.assertEqual(set(metrics), {"reward", "reward_std", "reward_standard_error",
                                        "episode_length"})
        self.assertEqual(metrics["episode_length"], 200)
        self.assertGreater(metrics["reward"], 400)
        self.assertEqual(self.eval("--episodes", "600")["metrics"], metrics)
        random = self.eval("--episodes", "600", "--set", "policy.name=random")["metrics"]
        self.assertLess(random["reward"], 100)

    def test_one_episode_has_no_standard_deviation(self):
        self.assertIsNone(self.eval("--episodes", "1")["metrics"]["reward_standard_error"])
        self.assertNotIn("nan", self.succeed("eval", "oracle.toml", "--episodes", "1"))

    def test_prints_the_policy_and_its_reward(self):
        out = self.succeed("eval", "oracle.toml", "--episodes", "20")
        self.assertRegex(out, r"oracle on maze, 20 test episodes of 200 steps\n"
                              r"reward per episode \d+\.\d\d, standard error .*\n$")

    def test_trace_is_of_the_first_episode(self):
        reward = self.eval("--episodes", "1", "--trace", "trace.json")["metrics"]["reward"]
        trace = json.loads((self.folder / "trace.json").read_text())
        self.assertEqual(sum(trace["rewards"]), reward)
        self.assertEqual(len(trace["positions"]), 201)

    def test_train_and_eval_refuse_experiments_of_the_other_kind(self):
        self.expect_user_error(("train", "oracle.toml"), "oracle.toml", "stpn eval")
        self.expect_user_error(("eval", "small.toml"), "small.toml", "stpn train")
        self.expect_user_error(("eval", "rl.toml"), "rl.toml", "stpn train")
        self.expect_user_error(("train", "small.toml", "--set", "task.name=maze"), "maze")
        self.succeed("train", "small.toml", "--out", "run", "--set", "train.epochs=1", "--quiet")
        self.expect_user_error(("eval", "run", "--trace", "trace.json", "--sampled"), "--sampled")

    def test_trace_of_a_sequence(self):
        self.succeed("train", "small.toml", "--out", "run", "--set", "train.epochs=1", "--quiet")
        self.succeed("eval", "run", "--trace", "new/trace.json")
        trace = json.loads((self.folder / "new/trace.json").read_text())
        self.assertEqual([sum(x) for x in trace["observations"]], 7 * [1])  # one-hot; two pairs
        self.assertEqual(trace["targets"][:-1], 6 * [None])
        self.assertIn(trace["targets"][-1], range(26, 36))  # a digit
        self.assertEqual(len(trace["answers"]), 7)

    def test_trains_and_tests_an_agent(self):
        code, out, err = self.run_stpn("train", "rl.toml", "--out", "run")
        self.assertEqual(code, 0, err)
        self.assertEqual(len(err.splitlines()), 3)
        self.assertRegex(err, r"^epoch 1/3  episodes 140  train loss .*  reward ")
        self.assertIn("oracle reward", out)
        summary = json.loads((self.folder / "run/summary.json").read_text())
        self.assertEqual(summary["steps"], 5)
        self.assertEqual(list(summary["baselines"]), ["random_reward", "oracle_reward"])
        self.assertEqual([line["episodes"] for line in self.metrics("run")], [140, 280, 420])

        result = json.loads(self.succeed("eval", "run", "--json", "--trace", "trace.json"))
        self.assertEqual((result["unit"], result["epoch"], result["episodes"]),
                         ("stpn_recurrent", 3, 100))
        for name, value in result["metrics"].items():
            self.assertEqual(value, summary["metrics"][name], name)
        trace = json.loads((self.folder / "trace.json").read_text())
        self.assertEqual((trace["size"], len(trace["actions"])), (5, 20))
        for t, (action, seen) in enumerate(zip(trace["actions"], trace["observations"][1:]), 1):
            self.assertEqual(seen[13:], [float(action == choice) for choice in range(4)])
            self.assertAlmostEqual(seen[11], t / 20, places=6)
        more = json.loads(self.succeed("eval", "run", "--json", "--episodes", "1"))
        self.assertEqual(more["metrics"]["reward"], sum(trace["rewards"]))
        # This trainer tests with drawn actions anyway.
        self.succeed("eval", "run", "--trace", "sampled.json", "--sampled")
        self.assertEqual(json.loads((self.folder / "sampled.json").read_text()), trace)
        longer = json.loads(self.succeed("eval", "run", "--json", "--episodes", "1", "--trace",
                                         "trace.json", "--set", "task.steps=50",
                                         "--set", "task.size=7"))
        trace = json.loads((self.folder / "trace.json").read_text())
        self.assertEqual((trace["size"], len(trace["actions"])), (7, 50))
        self.assertEqual(longer["metrics"]["reward"], sum(trace["rewards"]))

    def test_threads_and_resuming_change_no_bit(self):
        self.succeed("train", "rl.toml", "--out", "whole", "--quiet", "--threads", "1")
        self.succeed("train", "rl.toml", "--out", "grown", "--quiet", "--threads", "2",
                     "--set", "train.iterations=2")
        self.succeed("train", "rl.toml", "--out", "grown", "--quiet", "--resume")
        self.assertEqual(self.metrics("whole"), self.metrics("grown"))

    def test_invalid_options_of_an_agent(self):
        def refused(*settings, parts):
            options = [word for setting in settings for word in ("--set", setting)]
            self.expect_user_error(("train", "rl.toml", "--out", "run", *options), *parts)

        refused("train.iterations=5", parts=["iterations = 5", "report_every = 2"])
        refused("train.discount=1.5", parts=["discount = 1.5"])
        refused("train.episodes=0", parts=["episodes = 0"])
        refused("train.epochs=3", parts=["epochs"])
        refused("train.algorithm=actor", parts=["actor", "actor_critic"])
        refused("task.name=associative_retrieval", parts=["associative_retrieval"])
        refused("task.size=4", parts=["size = 4"])

    def test_invalid_options(self):
        def refused(*arguments, parts):
            self.expect_user_error(("eval", "oracle.toml", *arguments), *parts)

        refused("--set", "task.size=8", parts=["size = 8", "odd"])
        refused("--set", "task.size=3", parts=["size = 3"])
        refused("--set", "task.steps=0", parts=["steps = 0"])
        refused("--set", "policy.name=orakle", parts=["orakle", "oracle"])
        refused("--set", "unit.name=lstm", parts=["stpn train"])
        refused("--episodes", "0", parts=["--episodes"])
        refused("--episodes", "99999999999", parts=["99999999999"])
        refused("--sampled", parts=["--sampled", "--trace"])
        refused("--sampled", "--trace", "trace.json", parts=["oracle.toml", "--sampled"])

    def test_trace_that_cannot_be_written_is_a_failure(self):
        code, _, err = self.run_stpn("eval", "oracle.toml", "--episodes", "1", "--trace",
                                     "oracle.toml/trace.json")
        self.assertEqual(code, 1)
        self.expect_one_line(err, "oracle.toml/trace.json")

    def test_is_listed(self):
        self.assertIn("maze: ", self.succeed("list", "tasks"))


if __name__ == "__main__":
    support.main()
