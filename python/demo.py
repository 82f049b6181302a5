"""The program of `make demo`: trains an STPN on associative retrieval, and an LSTM for as many epochs.

python/demo.py [--stpn PROGRAM] [--out DIR] [--target-accuracy A]
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from stpn import learning_curves
from stpn.runs import read_run

CHECKOUT = Path(__file__).resolve().parents[1]

TASK = """\
Associative retrieval: the model reads pairs of a letter and a digit, one symbol per step, then ? ? and
one of the letters again, and has to answer with that letter's digit. Only its memory of this one
sequence can give the answer."""


def train(program, experiment, out, settings):
    command = [program, "train", CHECKOUT / "experiments/retrieval" / experiment, "--out", out]
    for setting in settings:
        command += ["--set", setting]
    subprocess.run([str(word) for word in command], check=True)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stpn", type=Path, default=CHECKOUT / "build/bin/stpn",
                        help="the program stpn (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=CHECKOUT / "build/demo",
                        help="folder for the runs and the figure; runs in it are replaced")
    parser.add_argument("--target-accuracy", type=float, default=0.997, metavar="A",
                        help="validation accuracy at which the training of the STPN ends (default: %(default)s)")
    given = parser.parse_args(arguments)
    runs = [given.out / "stpn", given.out / "lstm"]
    for run in runs:
        shutil.rmtree(run, ignore_errors=True)

    print(TASK)
    print("\n1. Training an STPN.", flush=True)
    try:
        train(given.stpn, "stpn.toml", runs[0], [f"train.target_accuracy={given.target_accuracy}"])
        epochs = len(read_run(runs[0]).epochs)
        print(f"\n2. Training an LSTM with about as many parameters for as many epochs: {epochs}.", flush=True)
        train(given.stpn, "lstm.toml", runs[1], [f"train.epochs={epochs}"])
    except subprocess.CalledProcessError as error:
        return error.returncode  # the program has printed the reason
    except OSError as error:
        print(f"demo: {error}; run `make build`", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print("\n3. Results.\n", flush=True)
    return learning_curves.main([str(run) for run in runs] + ["-o", str(given.out / "curves.png")])


if __name__ == "__main__":
    sys.exit(main())
