"""Sequences of several lengths as torch packs them, and the states of their samples."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


def each(state: tuple, of_stacked: Callable[[Tensor], Tensor],
         of_fast: Callable[[Tensor], Tensor]) -> list[Any]:
    """The fields of a state, changed: stacked tensors (L, B, ...) by the first function, each
    tensor (B, ...) of a tuple by the second. A field that is absent stays so."""
    return [None if field is None else tuple(map(of_fast, field)) if isinstance(field, tuple)
            else of_stacked(field) for field in state]


def split(state: tuple, samples: int) -> tuple[list[Any], list[Any]]:
    """The state of the first samples, and that of the rest."""
    return (each(state, lambda stacked: stacked[:, :samples], lambda fast: fast[:samples]),
            each(state, lambda stacked: stacked[:, samples:], lambda fast: fast[samples:]))


def join(states: Sequence[Iterable[Any]]) -> list[Any]:
    """The states of several groups of samples as one."""
    joined: list[Any] = []
    for fields in zip(*states):
        if fields[0] is None:
            joined.append(None)
        elif isinstance(fields[0], tuple):
            joined.append(tuple(torch.cat(parts) for parts in zip(*fields)))
        else:
            joined.append(torch.cat(fields, dim=1))
    return joined


def pack(x: Tensor, lengths: Tensor | Sequence[int]) -> PackedSequence:
    """x (T, B, ...), padded at the end, without the padding."""
    lengths = torch.as_tensor(lengths).cpu()
    if lengths.shape != x.shape[1:2] or lengths.is_floating_point():
        raise ValueError(f"lengths are {lengths.dtype} of shape {tuple(lengths.shape)}, want to be "
                         f"integers of shape ({x.size(1)},)")
    if lengths.numel() > 0 and not 0 < int(lengths.min()) <= int(lengths.max()) <= x.size(0):
        raise ValueError(f"lengths are from {int(lengths.min())} to {int(lengths.max())}, want to "
                         f"be from 1 to T = {x.size(0)}")
    return pack_padded_sequence(x, lengths, enforce_sorted=False)


def pad(packed: PackedSequence, steps: int) -> Tensor:
    """Back to (T, B, ...), with zeros after each end."""
    return pad_packed_sequence(packed, total_length=steps)[0]


def segments_of(batch_sizes: Tensor) -> list[tuple[int, int]]:
    """(steps, samples) of each run of time steps with the same samples."""
    samples, steps = torch.unique_consecutive(batch_sizes, return_counts=True)
    return list(zip(steps.tolist(), samples.tolist()))
