import contextlib
import io
import json
import tempfile
import unittest
from pathlib import Path

import matplotlib.image
from stpn import maze_picture

# The reward is left of the centre. The agent finds it with the first step, is teleported to the right of
# the centre, walks back and finds it again with the last step.
TRACE = {
    "task": "maze", "episode": 0, "size": 5,
    "walls": ["#####", "#...#", "#...#", "#...#", "#####"],
    "reward_cell": [2, 1],
    "positions": [[2, 2], [2, 3], [2, 3], [2, 2], [1, 1]],
    "actions": [2, 3, 2, 2], "rewards": [10.0, 0.0, 0.0, 10.0], "teleports": [0, 3],
}


class MazePictureTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)

    def run_main(self, content):
        path = self.folder / "trace.json"
        if content is not None:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        err = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
            code = maze_picture.main([str(path), "-o", str(self.folder / "new" / "maze.png")])
        return code, err.getvalue()

    def pixels_of(self, colour):
        pixels = matplotlib.image.imread(self.folder / "new" / "maze.png")[..., :3]
        wanted = matplotlib.colors.to_rgb(colour)
        return (abs(pixels - wanted).max(axis=-1) < 0.01).sum()

    def test_walks_go_from_start_or_teleport_to_reward_or_end(self):
        self.assertEqual(list(maze_picture.walks(TRACE)), [
            (0, [[2, 2], [2, 1]]),
            (1, [[2, 3], [2, 3], [2, 2], [2, 1]]),
            (4, [[1, 1]]),
        ])

    def test_draws_walls_ground_and_reward(self):
        self.assertEqual(self.run_main(TRACE), (0, ""))
        for colour in (maze_picture.WALL, maze_picture.GROUND, maze_picture.REWARD):
            self.assertGreater(self.pixels_of(colour), 100, colour)

    def test_draws_an_episode_without_reward_and_one_without_steps(self):
        for steps in (3, 0):
            self.assertEqual(self.run_main(TRACE | {
                "positions": [[2, 2]] + [[1, 2]] * steps, "actions": [0] * steps,
                "rewards": [0.0] * steps, "teleports": []}), (0, ""))
            self.assertGreater(self.pixels_of(maze_picture.WALL), 100)

    def assert_refused(self, message, content):
        code, err = self.run_main(content)
        self.assertEqual(code, 2)
        self.assertRegex(err, message)
        self.assertEqual(len(err.splitlines()), 1, err)

    def test_refuses_files_that_are_not_a_trace_of_the_maze(self):
        self.assert_refused("does not exist", None)
        self.assert_refused("has no 'task'", {})
        self.assert_refused("is a trace of a sequence, not of the maze", {"observations": [], "answers": []})
        self.assert_refused("of the task pong", TRACE | {"task": "pong"})
        self.assert_refused("not an output of stpn eval --trace", '{"task": "ma')
        self.assert_refused("not an output of stpn eval --trace", "[]")
        self.assert_refused("not an output of stpn eval --trace", TRACE | {"positions": 5})
        self.assert_refused("not an output of stpn eval --trace", TRACE | {"rewards": ["a"] * 4})
        self.assert_refused("not an output of stpn eval --trace", TRACE | {"reward_cell": [9, 9]})
        self.assert_refused("not 5 x 5", TRACE | {"walls": ["#####"]})
        self.assert_refused("do not match", TRACE | {"rewards": [0.0]})
        self.assert_refused("do not match", TRACE | {"teleports": [4]})
        self.assert_refused("inside a wall", TRACE | {"reward_cell": [0, 0]})

    def test_refuses_an_unknown_format(self):
        err = io.StringIO()
        with contextlib.redirect_stderr(err):
            code = maze_picture.main(["nowhere.json", "--out", "maze.xyz"])
        self.assertEqual(code, 2)
        self.assertRegex(err.getvalue(), "maze.xyz: .* must end in one of .*[.]png")
        self.assertEqual(len(err.getvalue().splitlines()), 1)


if __name__ == "__main__":
    unittest.main()
