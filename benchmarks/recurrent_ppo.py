"""Steps per second of training by PPO: `stpn train` beside sb3-contrib's RecurrentPPO, an LSTM of 64 in both.

    python3 -m venv peer
    peer/bin/pip install torch==2.13.0 sb3-contrib==2.9.2 "gymnasium[mujoco]==1.4.0" mujoco==3.14.0
    .venv/bin/python benchmarks/recurrent_ppo.py peer/bin/python

Both play the inverted pendulum in one environment, 2048 steps a batch, and pass 10 times over them in minibatches
of 64. They take turns. Of the peer, the first batch is not counted; of `stpn`, all of training is. Not the same in
both: the peer has two layers of 64 behind the LSTM for the policy and two for the value; it backpropagates through
its minibatch of consecutive steps, `stpn` through three sequences of 20. Of the peer's options only those named here
are set.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PEER = """
import sys, time
import gymnasium
from sb3_contrib import RecurrentPPO
model = RecurrentPPO("MlpLstmPolicy", gymnasium.make("InvertedPendulum-v4"), n_steps=2048, batch_size=64,
                     n_epochs=10, seed=1, device="cpu", policy_kwargs=dict(
                         lstm_hidden_size=64, n_lstm_layers=1, shared_lstm=True, enable_critic_lstm=False))
model.learn(2048)
begin = time.perf_counter()
model.learn(int(sys.argv[1]))
print(int(sys.argv[1]) / (time.perf_counter() - begin))
"""


def ours(model, steps):
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "run")
        subprocess.run([ROOT / "build/bin/stpn", "train", ROOT / f"experiments/pendulum/{model}.toml", "--out", out,
                        "--quiet", "--set", f"train.steps={steps}"], check=True, stdout=subprocess.DEVNULL)
        return json.loads((out / "summary.json").read_text())["metrics"]["steps_per_second"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", help="a Python that has the packages above")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    peer, rates = [], {"lstm": [], "stpn_feedforward": []}
    for _ in range(options.rounds):
        done = subprocess.run([options.peer, "-c", PEER, "8192"], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{options.peer} failed:\n{done.stderr}")
        peer.append(float(done.stdout.split()[-1]))
        for model, found in rates.items():
            found.append(ours(model, 204800))
    print(f"sb3-contrib RecurrentPPO: {statistics.median(peer):.0f} steps/s")
    for model, found in rates.items():
        rate = statistics.median(found)
        print(f"stpn train, {model}: {rate:.0f} steps/s, {rate / statistics.median(peer):.0f} times as many")


if __name__ == "__main__":
    main()
