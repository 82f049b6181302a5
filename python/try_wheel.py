"""Installs the wheel into an empty environment and runs the README's program there, without a compiler; and what
needs no torch into another, without torch.

python/try_wheel.py dist/stpn-*.whl
"""

import contextlib
import re
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
TORCH, NUMPY = (re.search(rf"^{name}==\S+", (CHECKOUT / "python/requirements.txt").read_text(), re.MULTILINE)[0]
                for name in ("torch", "numpy"))

# What the environment holds, and what the package imports.
CHECK = """
import importlib.metadata, sys
import stpn
stpn.STPN(3, 4), stpn.functional, stpn.checkpoints
for name in ("matplotlib", "onnx"):
    assert name not in sys.modules, name
    assert name not in {one.name for one in importlib.metadata.distributions()}, name
from pathlib import Path
assert (Path(stpn.__file__).parent / "libstpn_runtime.so").is_file()
print("stpn", importlib.metadata.version("stpn"), "from", stpn.__file__)
"""

# A network that the program trained.
WITHOUT_TORCH = """
import importlib.metadata, sys
import numpy
from stpn.runtime import Network
network = Network(sys.argv[1])
h = network.memory().step(numpy.ones(network.inputs))
assert numpy.isfinite(h).all() and h.any()
assert "torch" not in {one.name for one in importlib.metadata.distributions()}
"""


@contextlib.contextmanager
def empty_environment():
    """Its interpreter, and the words that install a package there."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin/python"
        yield python, [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]


def run_alone(python, code, *arguments):
    """Without a PATH, which leads to a compiler, and (-I) without the checkout and the user's packages."""
    subprocess.run([python, "-I", "-W", "ignore", "-c", code, *arguments], check=True, cwd=python.parent,
                   env={"PATH": ""})


def main(wheel):
    (program,) = re.findall(r"```python\n(.*?)```", (CHECKOUT / "README.md").read_text(), re.DOTALL)
    program = "import torch; torch.manual_seed(1)\n" + program + "assert accuracy >= 0.99, accuracy\n"
    with empty_environment() as (python, pip):
        subprocess.run([*pip, TORCH], check=True)
        begin = time.monotonic()
        subprocess.run([*pip, wheel], check=True)
        for code in (CHECK, program):
            run_alone(python, code)
        print(f"installed and learnt in {time.monotonic() - begin:.0f} s")
    with empty_environment() as (python, pip):
        subprocess.run([*pip, NUMPY], check=True)
        subprocess.run([*pip, "--no-deps", wheel], check=True)
        trained = CHECKOUT / "results/retrieval/pairs3/stpn/seed4"
        run_alone(python, WITHOUT_TORCH, trained)
        print("a trained network steps without torch")


if __name__ == "__main__":
    main(*sys.argv[1:])
