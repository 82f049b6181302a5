"""Installs the wheel into an empty environment and runs the README's program there, without a compiler.

python/try_wheel.py dist/stpn-*.whl
"""

import re
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
TORCH = re.search(r"^torch==\S+", (CHECKOUT / "python/requirements.txt").read_text(), re.MULTILINE)[0]

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


def main(wheel):
    (program,) = re.findall(r"```python\n(.*?)```", (CHECKOUT / "README.md").read_text(), re.DOTALL)
    program = "import torch; torch.manual_seed(1)\n" + program + "assert accuracy >= 0.99, accuracy\n"
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin/python"
        pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, TORCH], check=True)
        begin = time.monotonic()
        subprocess.run([*pip, wheel], check=True)
        for code in (CHECK, program):
            # An empty PATH has no compiler; -I leaves out the checkout and the user's packages.
            subprocess.run([python, "-I", "-W", "ignore", "-c", code], check=True, cwd=folder, env={"PATH": ""})
        print(f"installed and learnt in {time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
