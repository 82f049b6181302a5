"""How fast a run of several processes is, beside one process of as many threads; in turns, because other work may
share the machine.

benchmarks/processes_rate.py build/bin/stpn [--rounds N] [--experiment maze|retrieval|ppo]

Prints iterations (updates) a second of each configuration, the median over the rounds, and of each round the ratio
of two processes of one thread to one process of two threads. The first epoch of a run is not counted.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile

CHECKOUT = pathlib.Path(__file__).resolve().parents[1]
# The experiment, settings, and updates in an epoch; three epochs are run.
EXPERIMENTS = {
    "maze": ("maze/stpn.toml", ("train.iterations=18", "train.warm_up=0", "train.report_every=6", "task.test=64"), 6),
    "retrieval": ("retrieval/stpn.toml", ("train.epochs=3", "train.batch_size=512", "task.training=51200",
                                          "task.validation=10", "task.test=10"), 100),
    "ppo": ("pendulum/stpn.toml", ("train.steps=153600", "train.environments=256", "train.rollout_length=100",
                                   "train.minibatch_steps=25600", "train.passes=1", "train.report_every=2",
                                   "task.test=64"), 2),
}
CONFIGURATIONS = ((1, 1), (1, 2), (2, 1))  # processes, threads of each


def rate(stpn, experiment, processes, threads):
    file, settings, updates = experiment
    command = [str(stpn), "train", str(CHECKOUT / "experiments" / file), "--threads", str(threads), "--quiet"]
    if processes > 1:
        command = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(processes), *command]
    for setting in settings:
        command += ["--set", setting]
    with tempfile.TemporaryDirectory(prefix="stpn_rate_") as place:
        out = pathlib.Path(place, "run")
        subprocess.run([*command, "--out", str(out)], check=True)
        times = [json.loads(line)["wall_seconds"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    return updates * (len(times) - 1) / (times[-1] - times[0])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("stpn", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--experiment", choices=EXPERIMENTS, default="maze")
    given = parser.parse_args()
    os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    rates = {configuration: [] for configuration in CONFIGURATIONS}
    for _ in range(given.rounds):
        for configuration, measured in rates.items():
            measured.append(rate(given.stpn.resolve(), EXPERIMENTS[given.experiment], *configuration))
    for (processes, threads), measured in rates.items():
        print(f"{given.experiment}: {processes} processes x {threads} threads: {statistics.median(measured):.3g} "
              f"updates a second ({min(measured):.3g} to {max(measured):.3g})")
    ratios = [two / threads for two, threads in zip(rates[2, 1], rates[1, 2])]
    print(f"{given.experiment}: 2 x 1 over 1 x 2: median {statistics.median(ratios):.3f}, rounds "
          f"{', '.join(f'{ratio:.3f}' for ratio in ratios)}")


if __name__ == "__main__":
    main()
