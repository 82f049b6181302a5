"""What RecurrentPPO of sb3-contrib learns with an STPN in the place of its LSTM: the lines of docs/python.md.

    python3 -m venv peer
    peer/bin/pip install torch==2.13.0 sb3-contrib==2.9.2 gymnasium==1.4.0
    PYTHONPATH=python peer/bin/python benchmarks/recurrent_ppo_swap.py stpn --seed 1     # or lstm; two minutes

CartPole-v1 without its two velocities, in eight environments. Prints the steps so far and the mean return of the last
100 episodes.
"""

import argparse
import re
import statistics
from pathlib import Path

import gymnasium
import stpn
import torch
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

PAGE = (Path(__file__).resolve().parents[1] / "docs/python.md").read_text()
POSITIONS = [0, 2]  # of the cart and of the pole; 1 and 3 are their velocities
ENVIRONMENTS, STEPS = 8, 128  # of a rollout


class WithoutVelocities(gymnasium.ObservationWrapper):
    def __init__(self, scale):
        super().__init__(gymnasium.make("CartPole-v1"))
        seen = self.observation_space
        self.scale = scale
        self.observation_space = gymnasium.spaces.Box(seen.low[POSITIONS], seen.high[POSITIONS], dtype=seen.dtype)

    def observation(self, observation):
        return observation[POSITIONS] * self.scale


class Progress(BaseCallback):
    def _on_step(self):
        return True

    def _on_rollout_end(self):
        if self.model.ep_info_buffer:
            mean = statistics.fmean(episode["r"] for episode in self.model.ep_info_buffer)
            print(f"{self.num_timesteps:6} {mean:6.1f}", flush=True)


def stpn_policy():
    (code,) = [code for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "flatten_state" in code]
    names = {"torch": torch, "stpn": stpn, "RecurrentActorCriticPolicy": RecurrentActorCriticPolicy}
    exec(compile(code, "docs/python.md", "exec"), names)
    return names["Policy"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("memory", choices=["stpn", "lstm"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1, help="what observations are multiplied by")
    parser.add_argument("--steps", type=int, default=57344)
    given = parser.parse_args()
    torch.set_num_threads(1)
    policy, options = ("MlpLstmPolicy", {"lstm_hidden_size": 32}) if given.memory == "lstm" else (stpn_policy(), {})
    model = RecurrentPPO(policy, make_vec_env(lambda: WithoutVelocities(given.scale), ENVIRONMENTS, given.seed),
                         n_steps=STEPS, batch_size=256, learning_rate=1e-3, gamma=0.98, gae_lambda=0.9, seed=given.seed,
                         device="cpu", policy_kwargs=options)
    model.learn(given.steps, callback=Progress())


if __name__ == "__main__":
    main()
