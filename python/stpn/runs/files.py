"""Files that are written whole or not at all."""

import os
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path):
    """Gives a path of the same ending to write to, in the same folder. The file becomes `path` at the
    end of the block, and is removed if the block raises: what was there before stays."""
    path = Path(path)
    partial = path.with_name(f"{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path, text):
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")
