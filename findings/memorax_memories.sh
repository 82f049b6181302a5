#!/usr/bin/env bash
# memorax 1.0.1: FFM does not forget step by step, MetaMaskWrapper keeps the last trial and forgets its own, ALiBi looks
# at what is long ago, and a full buffer gives its newest steps and its oldest ones as one sequence.
#
# - FFMCell numbers the steps of each call from 0. With the state of the call before, it takes 1 - T steps to have
#   passed between calls of T steps, so that the memory grows again by what it has decayed. One step at a time, as an
#   agent acts, it does not decay at all; in one go, as in training, it does. LRUCell gives the same in all ways.
# - In memorax a mask is 1 where the state is to be reset. MetaMaskWrapper makes one that is 0 in the first step of each
#   trial and 1 in all others: it takes the state of the last trial into a trial, and remembers nothing within one.
# - ALiBi adds to the attention what it should subtract, the distance to the past: the own step has the smallest weight.
# - The buffer of make_episode_buffer overwrites its oldest steps when it is full. Then some samples run on from the
#   newest step to the oldest one, in the middle of another episode, and no flag says so.
#
# Fails if that changes. Needs python3 with venv.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q numpy==2.4.6 jax==0.10.2 jaxlib==0.10.2 flax==0.12.8 gymnax==1.0.1 six==1.17.0 distrax==0.1.9 \
    flashbax==0.1.3 memorax==1.0.1
cat >run.py <<'CODE'
import flax.linen as nn
import jax
import jax.numpy as jnp
from memorax.buffers.episode_buffer import make_episode_buffer
from memorax.networks.positional_embeddings.alibi import ALiBi
from memorax.networks.sequence_models.ffm import FFMCell
from memorax.networks.sequence_models.lru import LRUCell
from memorax.networks.sequence_models.memoroid import Memoroid
from memorax.networks.sequence_models.rnn import RNN
from memorax.networks.sequence_models.self_attention import SelfAttention
from memorax.networks.sequence_models.wrappers import MetaMaskWrapper
from memorax.utils.transition import Transition

key = jax.random.key(0)
steps = 120
x = jnp.zeros((1, steps, 4)).at[0, 0].set(1)  # one input, then nothing
mask = jnp.zeros((1, steps), int)
for cell, place in (FFMCell(4, memory_size=3, context_size=2), 0), (LRUCell(4, hidden_dim=3, r_min=0.99), 1):
    layer = Memoroid(cell)
    variables = layer.init(key, x, mask)
    apply = jax.jit(layer.apply)
    first = jnp.linalg.norm(apply(variables, x[:, :1], mask[:, :1])[0][place])
    for piece in steps, 40, 1:
        carry = None
        for t in range(0, steps, piece):
            carry, _ = apply(variables, x[:, t : t + piece], mask[:, t : t + piece], carry)
        left = jnp.linalg.norm(carry[place]) / first
        print(f"{type(cell).__name__}: after {steps} steps, {piece} at a time, {left:.3f} of the first is left")


class Count(nn.RNNCellBase):
    """Adds up its inputs."""

    @nn.compact
    def __call__(self, carry, x):
        return carry + x, carry + x

    @nn.nowrap
    def initialize_carry(self, key, shape):
        return jnp.zeros(shape)

    @property
    def num_feature_axes(self):
        return 1


ones, mask = jnp.ones((1, 12, 1)), jnp.zeros((1, 12), int)
_, sums = RNN(Count()).apply({}, ones, mask.at[:, ::4].set(1))
print("sums with a mask of 1 in each fourth step:", *(f"{v:.0f}" for v in sums.ravel()))
trials = MetaMaskWrapper(RNN(Count()), steps_per_trial=4)
_, sums = trials.apply({}, ones, mask, trials.initialize_carry(key, (1, 1)))
print("sums of MetaMaskWrapper with trials of 4 steps:", *(f"{v:.0f}" for v in sums.ravel()))

zeros = nn.initializers.zeros_init()  # no query and no key, so that the position alone decides
attention = SelfAttention(8, 1, 8, jnp.float32, jnp.float32, zeros, zeros, positional_embedding=ALiBi(1))
x, mask = 1000 * jnp.eye(8)[None], jnp.zeros((1, 8), int).at[0, 0].set(1)
variables = attention.init(key, x, mask)
variables["params"]["value"]["kernel"] = jnp.eye(8)[:, None]
variables["params"]["out"]["kernel"] = jnp.eye(8)[None]
_, outputs = attention.apply(variables, x, mask)
print("ALiBi: in thousandths, the last of 8 steps looks at them with", *(f"{v:.1f}" for v in outputs[0, -1]))

buffer = make_episode_buffer(10, 1, sample_batch_size=8, sample_sequence_length=5)
state = buffer.init(Transition(obs=jnp.array(0), prev_done=jnp.array(True)))
for t in range(17):
    state = buffer.add(state, Transition(obs=jnp.array(t), prev_done=jnp.array(t % 5 == 0)))
sample = buffer.sample(state, key).experience
print("buffer of the steps 7 to 16, with episodes of 5 steps, has given the sequences")
for sequence in sorted({tuple(v) for v in sample.obs.tolist()}):
    flags = sample.prev_done[sample.obs[:, 0] == sequence[0]][0].tolist()
    print(" ", *sequence, "with starts of an episode at", *(t for t, flag in zip(sequence, flags) if flag))
CODE
seen=$(venv/bin/python run.py 2>errors) || { cat errors; exit 1; }
echo "$seen"
wanted="FFMCell: after 120 steps, 120 at a time, 0.515 of the first is left
FFMCell: after 120 steps, 40 at a time, 0.741 of the first is left
FFMCell: after 120 steps, 1 at a time, 1.000 of the first is left
LRUCell: after 120 steps, 120 at a time, 0.756 of the first is left
LRUCell: after 120 steps, 40 at a time, 0.756 of the first is left
LRUCell: after 120 steps, 1 at a time, 0.756 of the first is left
sums with a mask of 1 in each fourth step: 1 2 3 4 1 2 3 4 1 2 3 4
sums of MetaMaskWrapper with trials of 4 steps: 1 1 1 1 2 1 1 1 2 1 1 1
ALiBi: in thousandths, the last of 8 steps looks at them with 126.7 126.2 125.7 125.2 124.8 124.3 123.8 123.3
buffer of the steps 7 to 16, with episodes of 5 steps, has given the sequences
  10 11 12 13 14 with starts of an episode at 10
  15 16 7 8 9 with starts of an episode at 15"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
