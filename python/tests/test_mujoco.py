"""Our tasks on MuJoCo compared with MuJoCo's Python package and, where it is installed, with Gymnasium."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import numpy

try:
    import mujoco
except ImportError:
    mujoco = None
try:
    import gymnasium.envs.mujoco
except ImportError:
    gymnasium = None

PROGRAM = os.environ["STPN_PROGRAM"]
EXPERIMENTS = pathlib.Path(__file__).resolve().parents[2] / "experiments"
SEEDS = range(1, 7)


def traces(task, **options):
    """The first episodes of random policies of several seeds; a skipped test where there is no MuJoCo."""
    folder = {"inverted_pendulum": "pendulum", "hopper": "hopper"}[task]
    settings = [word for key, value in options.items()
                for word in ("--set", f"task.{key}={json.dumps(value)}")]
    with tempfile.TemporaryDirectory() as scratch:
        path = pathlib.Path(scratch) / "trace.json"
        for seed in SEEDS:
            run = subprocess.run(
                [PROGRAM, "eval", EXPERIMENTS / folder / "random.toml", "--episodes", "1", "--trace", path,
                 "--set", f"policy.seed={seed}", *settings], capture_output=True, text=True)
            if "this build has no MuJoCo" in run.stderr:
                raise unittest.SkipTest("the program was built without MuJoCo")
            if run.returncode:
                raise AssertionError(run.stderr)
            yield json.loads(path.read_text())


@unittest.skipIf(mujoco is None, "there is no Python package mujoco")
class MujocoPackage(unittest.TestCase):
    def replay(self, task):
        for trace in traces(task):
            if trace["mujoco"] != mujoco.__version__:
                self.skipTest(f"the program has MuJoCo {trace['mujoco']}, Python {mujoco.__version__}")
            model = mujoco.MjModel.from_xml_string(trace["model"])
            data = mujoco.MjData(model)
            self.assertEqual(model.opt.timestep, trace["time_step"])
            data.qpos[:], data.qvel[:] = trace["qpos"][0], trace["qvel"][0]
            self.assertGreaterEqual(len(trace["actions"]), 2)
            for t, action in enumerate(trace["actions"]):
                data.ctrl[:] = action  # within the limits, and clipped by the model if not
                mujoco.mj_step(model, data, nstep=trace["physics_steps"])
                numpy.testing.assert_allclose(trace["qpos"][t + 1], data.qpos, rtol=0, atol=1e-12)
                numpy.testing.assert_allclose(trace["qvel"][t + 1], data.qvel, rtol=0, atol=1e-12)

    def test_replays_the_pendulum(self):
        self.replay("inverted_pendulum")

    def test_replays_the_hopper(self):
        self.replay("hopper")


@unittest.skipIf(gymnasium is None or mujoco is None, "gymnasium[mujoco] is not installed")
class Gymnasium(unittest.TestCase):
    def compare(self, task, name):
        for version, pays_last_step in (("v4", True), ("v5", False)):
            environment = gymnasium.make(f"{name}-{version}", max_episode_steps=30)
            for trace in traces(task, pays_last_step=pays_last_step, max_steps=30):
                if trace["mujoco"] != mujoco.__version__:
                    self.skipTest(f"the program has MuJoCo {trace['mujoco']}, Python {mujoco.__version__}")
                environment.reset(seed=0)
                inner = environment.unwrapped
                inner.set_state(numpy.array(trace["qpos"][0]), numpy.array(trace["qvel"][0]))
                for t, action in enumerate(trace["actions"]):
                    seen, reward, terminated, truncated, _ = environment.step(numpy.array(action))
                    for key, theirs in (("qpos", inner.data.qpos), ("qvel", inner.data.qvel)):
                        numpy.testing.assert_allclose(trace[key][t + 1], theirs, rtol=0, atol=1e-9)
                    # Observations and rewards are float32.
                    numpy.testing.assert_allclose(trace["observations"][t + 1], seen, rtol=1e-6, atol=1e-7)
                    self.assertAlmostEqual(trace["rewards"][t], reward, delta=2e-6)
                    self.assertEqual((trace["terminated"][t], trace["truncated"][t]),
                                     (terminated, truncated), (version, t))
            environment.close()

    def test_is_the_inverted_pendulum(self):
        self.compare("inverted_pendulum", "InvertedPendulum")

    def test_is_the_hopper(self):
        self.compare("hopper", "Hopper")


if __name__ == "__main__":
    unittest.main()
