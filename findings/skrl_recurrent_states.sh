#!/usr/bin/env bash
# skrl 2.1.1: its recurrent agents keep the wrong states of the policy, and add up rewards beyond the end of an episode.
#
# - With each transition, PPO_RNN and A2C_RNN keep the recurrent state from which training starts when it begins a
#   sequence there. It should be the state before the step. From the second step on, that of the policy is the state after
#   it, so that in training the policy has seen the first observation of a sequence twice, and no episode starts from
#   zeros. That of the value function is right. (The two dictionaries of states are one after the first step.)
# - With time_limit_bootstrap an episode that is cut gets the discounted value of its last state as its last reward. PPO
#   then ends its returns there. PPO_RNN and A2C_RNN do not: they also add the rewards of the next episode.
#
# Fails if that changes. Needs python3 with venv; installs torch (the wheel on PyPI is large: set PIP_EXTRA_INDEX_URL to
# PyTorch's index of CPU wheels).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 numpy==2.4.6 gymnasium==1.2.1
venv/bin/pip install -q --no-deps skrl==2.1.1 tensorboard==2.20.0 protobuf==6.33.0 absl-py==2.3.1 packaging==25.0 tqdm==4.67.1
cat >run.py <<'CODE'
import gymnasium
import torch
from skrl.agents.torch.a2c import A2C_RNN
from skrl.agents.torch.ppo import PPO, PPO_RNN
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.models.torch import CategoricalMixin, DeterministicMixin, Model
from skrl.trainers.torch import SequentialTrainer


class ThreeSteps(gymnasium.Env):
    """An episode is cut after three steps; each is worth 1."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        self.t = 0
        return self.observation_space.low, {}

    def step(self, action):
        self.t += 1
        return self.observation_space.low, 1.0, False, self.t == 3, {}


class Counter(Model):
    """Its state is the number of steps that it has seen in the episode; its output is 0."""

    def __init__(self, env):
        Model.__init__(self, observation_space=env.observation_space, action_space=env.action_space, device="cpu")
        self.weight = torch.nn.Parameter(torch.zeros(self.outputs))

    def get_specification(self):
        return {"rnn": {"sequence_length": 1, "sizes": [(1, 1, 1)]}}

    def compute(self, inputs, role):
        states = {"rnn": [inputs["rnn"][0] + 1]} if "rnn" in inputs else {}
        return 0 * self.weight.expand(len(inputs["observations"]), self.outputs), states


class Policy(CategoricalMixin, Counter):
    outputs = 2

    def __init__(self, env):
        Counter.__init__(self, env)
        CategoricalMixin.__init__(self)


class Value(DeterministicMixin, Counter):
    outputs = 1

    def __init__(self, env):
        Counter.__init__(self, env)
        DeterministicMixin.__init__(self)


for agent in PPO, PPO_RNN, A2C_RNN:
    env = wrap_env(ThreeSteps(), wrapper="gymnasium", verbose=False)
    memory = RandomMemory(memory_size=8, num_envs=1, device="cpu")
    cfg = {"rollouts": 8, "mini_batches": 1, "discount_factor": 1.0, "gae_lambda": 1.0, "time_limit_bootstrap": True,
           "experiment": {"write_interval": 0, "checkpoint_interval": 0}}
    agent = agent(models={"policy": Policy(env), "value": Value(env)}, memory=memory, cfg=cfg, device="cpu",
                  observation_space=env.observation_space, action_space=env.action_space)
    SequentialTrainer(env=env, agents=agent, cfg={"timesteps": 8, "headless": True, "disable_progressbar": True}).train()
    for name, text in ("rnn_policy_0", "states of policy"), ("rnn_value_0", "states of value"), ("returns", "returns"):
        if name in memory.get_tensor_names():
            print(f"{type(agent).__name__}, {text}:", *memory.get_tensor_by_name(name).flatten().int().tolist())
CODE
seen=$(venv/bin/python run.py 2>errors) || { cat errors; exit 1; }
echo "$seen"
wanted="PPO, returns: 3 2 1 3 2 1 2 1
PPO_RNN, states of policy: 0 2 3 1 2 3 1 2
PPO_RNN, states of value: 0 1 2 0 1 2 0 1
PPO_RNN, returns: 8 7 6 5 4 3 2 1
A2C_RNN, states of policy: 0 2 3 1 2 3 1 2
A2C_RNN, states of value: 0 1 2 0 1 2 0 1
A2C_RNN, returns: 8 7 6 5 4 3 2 1"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
