"""Writes run folders with made-up results."""

import json
from pathlib import Path


def write_run(folder, model="stpn", task="associative_retrieval", accuracies=(0.1, 0.5, 0.9),
              test_accuracy=0.8765, energy=2.5, seed=1):
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(
        json.dumps({"epoch": epoch, "validation_accuracy": accuracy, "energy_per_step": energy})
        + "\n" for epoch, accuracy in enumerate(accuracies, 1)))
    (folder / "summary.json").write_text(json.dumps({
        "model": model, "task": task, "seed": seed, "parameters": 1234, "wall_seconds": 56.7,
        "metrics": {"test_accuracy": test_accuracy, "energy_per_step": energy,
                    "energy_per_sequence": 9 * energy},
        "baselines": {"chance_accuracy": 0.1, "no_binding_accuracy": 1 / 3}}))
    return str(folder)


def write_rl_run(folder, model="stpn", task="maze", rewards=(20.0, 60.0, 110.0), reward=120.1,
                     energy=1.2, seed=1, random=5.5, oracle=270.3):
    """A run of an RL task, with a line of metrics every 6400 episodes."""
    folder.mkdir(parents=True)

    def share(value):
        return (value - random) / (oracle - random)

    (folder / "metrics.jsonl").write_text("".join(
        json.dumps({"epoch": epoch, "step": 100 * epoch, "episodes": 6400 * epoch, "reward": value,
                    "reward_share": share(value)}) + "\n" for epoch, value in enumerate(rewards, 1)))
    (folder / "summary.json").write_text(json.dumps({
        "model": model, "task": task, "seed": seed, "parameters": 4321, "wall_seconds": 98.7,
        "metrics": {"reward": reward, "reward_standard_error": 0.3, "reward_share": share(reward),
                    "energy_per_neuron": energy, "energy_per_neuron_without_reward": energy / 4,
                    "seconds_per_iteration": 0.123, "episodes": 6400 * len(rewards)},
        "baselines": {"random_reward": random, "oracle_reward": oracle}}))
    return str(folder)


def begin_late(folder, count):
    """No episode has ended in the first so many lines of a run of an RL task."""
    path = Path(folder) / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    late = [line | {"reward": None, "reward_share": None} for line in lines[:count]] + lines[count:]
    path.write_text("".join(json.dumps(line) + "\n" for line in late))
