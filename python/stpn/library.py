"""Where the package's shared libraries are."""

import os
from pathlib import Path


def find(kind: str, file: str, variable: str) -> Path:
    """The library that the environment variable names, else that of the wheel, of this checkout's build or
    of `make install`.

    kind: what it is called in messages; file: its name. Raises ImportError, which says what to do.
    """
    if named := os.environ.get(variable):
        candidates = [Path(named)]
        advice = f"{variable} names it"
    else:
        package = Path(__file__).resolve().parent
        candidates = [package / file, package.parents[1] / "build/lib" / file, package.parents[2] / file]
        advice = f"run `make build`, or set {variable} to its path"
    for path in candidates:
        if path.is_file():
            return path
    raise ImportError(f"no {kind} library at {' or '.join(map(str, candidates))}: {advice}")
