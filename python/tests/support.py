"""What a run leaves, made up."""

import json


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
        "yardsticks": {"chance_accuracy": 0.1, "no_binding_accuracy": 1 / 3}}))
    return str(folder)
