"""The units as PyTorch ops. Importing this module loads libstpn_ops.so.

Each op runs a whole sequence: x is (T, B, I) with time first, and each returns the activity of every
step (T, B, H), whose last is the new h, the other final states and the energy. Float or double, on
the CPU; differentiable once, in every floating-point tensor but `measured`. docs/units.md has the
equations; what follows are the arguments and results, as `stpn list ops` prints them. `describe(NAME)`
returns them for one op.
"""

import torch
from torch.utils._pytree import tree_map

from stpn.library import find

try:
    torch.ops.load_library(find("op", "libstpn_ops.so", "STPN_OPS"))
except OSError as error:
    raise ImportError(f"the op library does not load into torch {torch.__version__}; build it "
                      f"against this torch: {error}") from error

UNITS = ["stpn_recurrent", "stpn_feedforward", "backpropamine", "fast_weights"]


def _one_by_one(op):
    """A rule for vmap: calls the op for one entry after the other. The kernels have a batch of their
    own, which is where samples belong."""
    def rule(info, in_dims, *arguments):
        results = []
        for k in range(info.batch_size):
            entry = tree_map(lambda value, dim: value if dim is None else value.select(dim, k),
                             arguments, in_dims)
            results.append(op(*entry))
        stacked = [torch.stack(parts) for parts in zip(*results)]
        return stacked, [0] * len(stacked)

    return rule


# What stands for a unit's op in traced graphs.
for _unit in UNITS:
    for _pass in ("forward", "backward"):
        _name = f"{_unit}_{_pass}"
        torch.library.register_vmap(f"stpn::{_name}", _one_by_one(getattr(torch.ops.stpn, _name)))

stpn_recurrent = torch.ops.stpn.stpn_recurrent
stpn_feedforward = torch.ops.stpn.stpn_feedforward
fast_weights = torch.ops.stpn.fast_weights
backpropamine = torch.ops.stpn.backpropamine


def describe(op: str) -> str:
    """What the op of this name, such as "stpn_recurrent", takes and returns: its schema, and a line for
    each tensor and option."""
    return torch.ops.stpn.describe(op)


__doc__ += "\n" + "\n".join(map(describe, UNITS))
