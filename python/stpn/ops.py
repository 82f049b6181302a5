"""The units as PyTorch ops. Importing this module loads libstpn_ops.so.

stpn_recurrent(x, h, F, weight, bias, weight_lambda, weight_gamma, *, norm="pre", ...)
    -> (output, F, beta, energy)

    x (T, B, I); state h (B, H), F (B, H, I+H); weight (H, I+H); bias (H) or None; weight_lambda and
    weight_gamma (H, I+H), (I+H) or (1). Returns the activity of every step (T, B, H), whose last is
    the new h, and the new F; beta and energy are empty unless asked for. Differentiable in every
    floating-point input. Equations and all arguments: docs/units.md.
"""

import os
from pathlib import Path

import torch


def _library():
    """Where the library is: STPN_OPS, else the build of this checkout, else the installed one."""
    if named := os.environ.get("STPN_OPS"):
        candidates = [Path(named)]
        advice = "STPN_OPS names it"
    else:
        package = Path(__file__).resolve().parent
        candidates = [package.parents[1] / "build/lib/libstpn_ops.so",
                      package.parents[2] / "libstpn_ops.so"]
        advice = "run `make build`, or set STPN_OPS to its path"
    for path in candidates:
        if path.is_file():
            return path
    raise ImportError(f"no op library at {' or '.join(map(str, candidates))}: {advice}")


try:
    torch.ops.load_library(_library())
except OSError as error:
    raise ImportError(f"the op library does not load into torch {torch.__version__}; build it "
                      f"against this torch: {error}") from error

stpn_recurrent = torch.ops.stpn.stpn_recurrent
