"""Steps per second and memory of training on Pong: `stpn train`, beside CleanRL's PPO with an LSTM if that is there.

    build/bin/stpn list tasks pong                       # whether the program has the emulator: docs/pong.md
    .venv/bin/python benchmarks/pong_training.py
    .venv/bin/python benchmarks/pong_training.py --peer PYTHON SCRIPT

PYTHON has torch==2.13.0, gymnasium==0.29.1, ale-py==0.12.1, opencv-python-headless, tyro and tensorboard; SCRIPT is
CleanRL's cleanrl/ppo_atari_lstm.py with the folder cleanrl_utils beside it. All take turns. Of the peer the rate is the
one that it prints last, and both count everything but the start. Not the same in both: the peer's network has three
layers of convolutions, a layer of 512 and an LSTM of 128; its emulators run in one thread.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TRAINING = {  # name: experiment, settings
    "PPO of four passes, `deepmind`": ("{}", ["train.steps=49152"]),
    "A2C, `deepmind`": ("{}_a2c", ["task.mode=deepmind", "train.iterations=20"]),
    "A2C, `stpn`": ("{}_a2c", ["train.iterations=30"]),
}
PEER = """
import runpy, sys
from ale_py.registration import register_v0_v4_envs
register_v0_v4_envs()
sys.argv = [sys.argv[1], "--env-id", "PongNoFrameskip-v4", "--no-cuda", "--total-timesteps", "4096"]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def ours(model, training):
    """(steps per second, peak memory in MB) of a short run."""
    experiment, settings = TRAINING[training]
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "run")
        command = [ROOT / "build/bin/stpn", "train", ROOT / f"experiments/pong/{experiment.format(model)}.toml",
                   "--out", out, "--quiet"]
        for setting in [*settings, "task.test=1", "task.max_frames=400"]:
            command += ["--set", setting]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        if status:
            sys.exit(f"{' '.join(map(str, command))} failed")
        rate = json.loads((out / "summary.json").read_text())["metrics"]["steps_per_second"]
        return rate, used.ru_maxrss / 1024


def peers(python, script):
    done = subprocess.run([python, "-c", PEER, script], capture_output=True, text=True, cwd=Path(script).parent)
    rates = re.findall(r"SPS: (\d+)", done.stdout)
    if done.returncode or not rates:
        sys.exit(f"{script} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return float(rates[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["stpn", "lstm"])
    parser.add_argument("--peer", nargs=2, metavar=("PYTHON", "SCRIPT"))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    cases = [(model, training) for training in TRAINING for model in options.models]
    found, peer = {case: [] for case in cases}, []
    for _ in range(options.rounds):
        for case in cases:
            found[case].append(ours(*case))
        if options.peer:
            peer.append(peers(*options.peer))
    for (model, training), results in found.items():
        rates, memory = zip(*results)
        print(f"{training:32} {model:6} {statistics.median(rates):7.0f} steps/s {max(memory):7.0f} MB")
    if peer:
        print(f"CleanRL's PPO with an LSTM: {statistics.median(peer):.0f} steps/s")


if __name__ == "__main__":
    main()
