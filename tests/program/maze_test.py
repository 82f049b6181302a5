"""Policies that need no training, from the command line."""

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
        self.assertEqual(set(metrics), {"reward", "reward_deviation", "reward_standard_error",
                                        "episode_length"})
        self.assertEqual(metrics["episode_length"], 200)
        self.assertGreater(metrics["reward"], 400)
        self.assertEqual(self.eval("--episodes", "600")["metrics"], metrics)
        random = self.eval("--episodes", "600", "--set", "policy.name=random")["metrics"]
        self.assertLess(random["reward"], 100)

    def test_one_episode_has_no_deviation(self):
        self.assertIsNone(self.eval("--episodes", "1")["metrics"]["reward_standard_error"])
        self.assertNotIn("nan", self.succeed("eval", "oracle.toml", "--episodes", "1"))

    def test_says_who_played_and_what_came_of_it(self):
        out = self.succeed("eval", "oracle.toml", "--episodes", "20")
        self.assertRegex(out, r"oracle on maze, 20 test episodes of 200 steps\n"
                              r"reward \d+\.\d\d an episode, standard error .*\n$")

    def test_trace_is_of_the_first_episode(self):
        reward = self.eval("--episodes", "1", "--trace", "trace.json")["metrics"]["reward"]
        trace = json.loads((self.folder / "trace.json").read_text())
        self.assertEqual(sum(trace["rewards"]), reward)
        self.assertEqual(len(trace["positions"]), 201)

    def test_experiments_of_one_kind_are_refused_by_the_command_for_the_other(self):
        self.expect_user_error(("train", "oracle.toml"), "oracle.toml", "stpn eval")
        self.expect_user_error(("eval", "small.toml"), "small.toml", "stpn train")
        self.expect_user_error(("train", "small.toml", "--set", "task.name=maze"), "maze")
        self.succeed("train", "small.toml", "--out", "run", "--set", "train.epochs=1", "--quiet")
        for option in (("--trace", "trace.json"), ("--set", "task.pairs=1")):
            self.expect_user_error(("eval", "run", *option), option[0])

    def test_mistakes(self):
        def refused(*arguments, parts):
            self.expect_user_error(("eval", "oracle.toml", *arguments), *parts)

        refused("--set", "task.size=8", parts=["size = 8", "odd"])
        refused("--set", "task.size=3", parts=["size = 3"])
        refused("--set", "task.steps=0", parts=["steps = 0"])
        refused("--set", "policy.name=orakle", parts=["orakle", "oracle"])
        refused("--set", "unit.name=lstm", parts=["stpn train"])
        refused("--episodes", "0", parts=["--episodes"])
        refused("--episodes", "99999999999", parts=["99999999999"])

    def test_trace_that_cannot_be_written_is_a_failure(self):
        code, _, err = self.run_stpn("eval", "oracle.toml", "--episodes", "1", "--trace",
                                     "absent/trace.json")
        self.assertEqual(code, 1)
        self.expect_one_line(err, "absent/trace.json")

    def test_is_listed(self):
        self.assertIn("maze: ", self.succeed("list", "tasks"))


if __name__ == "__main__":
    support.main()
