"""What the modules share: torch.nn.LSTM's conventions around the op of a unit."""

import inspect
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar, overload

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from stpn.nn import packing
from stpn.signature import Signature, StateTensor, unknown_option

StateT = TypeVar("StateT", bound=tuple)
# Of a parameter of one layer: its shape, and what it starts from, (low, high) of a uniform
# distribution.
Start = tuple[Sequence[int], tuple[float, float]]


class Unit(nn.Module, Generic[StateT]):
    """A unit over whole sequences, in the place of torch.nn.LSTM.

    A subclass names its op's signature and its state's type, and says which parameters a layer has
    (`_starts`).
    """

    signature: ClassVar[Signature]
    state_type: ClassVar[type]
    bidirectional: ClassVar[bool] = False
    _op: ClassVar[Any]  # of the signature; kept, because torch.ops looks it up at every use

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "signature" in vars(cls):
            cls._op = getattr(torch.ops.stpn, cls.signature.op).default
            cls.__doc__ = (cls.__doc__ or "").rstrip() + "\n\n" + cls.signature.description()

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self._check_names(options)
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
        for what, size in sizes.items():
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise ValueError(f"{name}: {what} is {size!r}, wants a whole number above 0")
        if isinstance(dropout, bool) or not 0 <= dropout <= 1:
            raise ValueError(f"{name}: dropout is {dropout!r}, wants a number from 0 to 1")
        if dropout > 0 and num_layers == 1:
            warnings.warn(f"{name}: dropout acts between layers, and there is one layer only",
                          stacklevel=3)
        dtype = dtype or torch.get_default_dtype()
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"{name}: dtype is {dtype}, wants torch.float32 or torch.float64; "
                             "inputs may be of a smaller one under torch.autocast")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.options = self.signature.resolve(name, options)
        self.measured: Tensor | None
        self.register_buffer("measured", None, persistent=False)
        self._is_feedforward = self.signature.states[0].name != "h"
        self._inputs = [input_size] + [hidden_size] * (num_layers - 1)
        # Of each layer, the names of its parameters: the op's, and the module's.
        self._keys: list[list[tuple[str, str]]] = []
        for layer, inputs in enumerate(self._inputs):
            starts = self._starts(inputs)
            self._keys.append([(name, f"{name}_l{layer}") for name in starts])
            for key, (shape, _) in zip(self._keys[layer], starts.values()):
                values = torch.empty(tuple(shape), device=device, dtype=dtype)
                self.register_parameter(key[1], nn.Parameter(values))
        self.reset_parameters()

    @classmethod
    def _argument_names(cls) -> list[str]:
        """The names of all arguments: those written out in the class and in what it derives from, and
        the options of the op."""
        names: dict[str, None] = {}
        for kind in cls.__mro__[:cls.__mro__.index(Unit)]:
            if not kind.__name__.startswith("_"):
                names |= dict.fromkeys(inspect.signature(kind).parameters)
        names.pop("options")
        return [*names, *(option.name for option in cls.signature.options)]

    @classmethod
    def _check_names(cls, options: Mapping[str, Any]) -> None:
        """Raises TypeError, in one line, for an argument that there is not."""
        known = cls._argument_names()
        for name in options:
            if name in ("bidirectional", "proj_size"):
                raise TypeError(f"{cls.__name__}: {name} is not supported")
            if name not in known:
                raise unknown_option(cls.__name__, name, known)

    # What a subclass says.

    def _starts(self, inputs: int) -> dict[str, Start]:
        """The parameters of a layer with so many inputs, by the names of the op."""
        raise NotImplementedError

    def _given(self, parameters: dict[str, Tensor | None]) -> dict[str, Tensor | None]:
        """The tensors that the op takes, from the parameters of a layer."""
        return parameters

    def _size(self, letter: str, inputs: int) -> int:
        """The size that stands behind a letter in a shape of the signature."""
        raise NotImplementedError

    # Parameters and state.

    def reset_parameters(self) -> None:
        """Draws all parameters anew, from torch's generator."""
        with torch.no_grad():
            for inputs, keys in zip(self._inputs, self._keys):
                for (_, key), (_, (low, high)) in zip(keys, self._starts(inputs).values()):
                    parameter = getattr(self, key)
                    if low == high:
                        parameter.fill_(low)
                    else:
                        parameter.uniform_(low, high)

    def flatten_parameters(self) -> None:
        """Does nothing: there is nothing to flatten. Here because torch.nn.LSTM has it."""

    def leave_out_of_energy(self, inputs: Iterable[int]) -> None:
        """Leaves these inputs, by index, out of the energy from now on."""
        left_out = sorted(set(inputs))
        if any(not 0 <= index < self.input_size for index in left_out):
            raise ValueError(f"{type(self).__name__}: left out of the energy are {left_out}, which "
                             f"want to be from 0 to {self.input_size - 1}")
        measured = torch.ones(self.input_size, device=next(self.parameters()).device)
        measured[left_out] = 0
        self.measured = measured

    def initial_state(self, batch_size: int | None = None) -> StateT:
        """Zeros for so many samples, or, without a number, for an input without a batch."""
        state = self._zeros(1 if batch_size is None else batch_size)
        return state if batch_size is not None else self._without_batch(state)

    def _zeros(self, batch: int, only_optional: bool = False) -> StateT:
        like: Tensor = getattr(self, self._keys[0][0][1])

        def zeros(tensor: StateTensor) -> Any:
            if not self._has_state(tensor.name) or (only_optional and not tensor.optional):
                return None
            if tensor.sizes == "H":
                return like.new_zeros((self.num_layers, batch, self.hidden_size))
            return tuple(like.new_zeros((batch, *(self._size(letter, inputs)
                                                  for letter in tensor.sizes)))
                         for inputs in self._inputs)

        return self.state_type(*map(zeros, self.signature.states))

    @property
    def state_size(self) -> int:
        """How many values the state of a sample has."""
        return sum(size for _, _, size in self._state_parts())

    def flatten_state(self, state: StateT) -> Tensor:
        """A state as one tensor (B, state_size), for buffers that keep one; its inverse is
        `unflatten_state`."""
        parts = [field[layer] for field in state if field is not None
                 for layer in range(self.num_layers)]
        return torch.cat([part.flatten(1) for part in parts], dim=1)

    def unflatten_state(self, flat: Tensor) -> StateT:
        """The state that `flatten_state` made (B, state_size) of."""
        if flat.dim() != 2 or flat.size(1) != self.state_size:
            raise ValueError(f"{type(self).__name__}: a flat state has shape {tuple(flat.shape)}, "
                             f"wants (B, {self.state_size})")
        layers: dict[str, list[Tensor]] = {}
        first = 0
        for name, shape, size in self._state_parts():
            part = flat[:, first:first + size].unflatten(1, shape)
            layers.setdefault(name, []).append(part)
            first += size
        return self.state_type(*[
            None if tensor.name not in layers else tuple(layers[tensor.name])
            if len(tensor.sizes) > 1 else torch.stack(layers[tensor.name])
            for tensor in self.signature.states])

    def _state_parts(self) -> list[tuple[str, tuple[int, ...], int]]:
        """(name, shape without the batch, values) of each state tensor of each layer, in order."""
        parts = []
        for tensor in self.signature.states:
            if not self._has_state(tensor.name):
                continue
            for inputs in self._inputs:
                shape = tuple(self._size(letter, inputs) for letter in tensor.sizes)
                parts.append((tensor.name, shape, math.prod(shape)))
        return parts

    def _has_state(self, name: str) -> bool:
        return not any(tensor.name == name and tensor.optional
                       for tensor in self.signature.states)

    def _with_batch(self, state: StateT) -> StateT:
        return self.state_type(*packing.each(
            state, lambda stacked: stacked.unsqueeze(1), lambda fast: fast.unsqueeze(0)))

    def _without_batch(self, state: StateT) -> StateT:
        return self.state_type(*packing.each(
            state, lambda stacked: stacked.squeeze(1), lambda fast: fast.squeeze(0)))

    # The call.

    @overload
    def forward(self, x: Tensor, state: StateT | None = None,
                lengths: Tensor | Sequence[int] | None = None, reset: Tensor | None = None, *,
                energy: Literal[False] = False) -> tuple[Tensor, StateT]: ...

    @overload
    def forward(self, x: PackedSequence, state: StateT | None = None,
                lengths: Tensor | Sequence[int] | None = None, reset: Tensor | None = None, *,
                energy: Literal[False] = False) -> tuple[PackedSequence, StateT]: ...

    @overload
    def forward(self, x: Tensor, state: StateT | None = None,
                lengths: Tensor | Sequence[int] | None = None, reset: Tensor | None = None, *,
                energy: Literal[True]) -> tuple[Tensor, StateT, Tensor]: ...

    @overload
    def forward(self, x: PackedSequence, state: StateT | None = None,
                lengths: Tensor | Sequence[int] | None = None, reset: Tensor | None = None, *,
                energy: Literal[True],
                ) -> tuple[PackedSequence, StateT, tuple[PackedSequence, ...]]: ...

    def forward(self, x: Any, state: Any = None, lengths: Any = None, reset: Any = None, *,
                energy: bool = False) -> Any:
        """Runs sequences; returns (output, state) or, with energy, (output, state, energy).

        x: (T, B, I); (B, T, I) with batch_first; (T, I) without a batch; or a PackedSequence.
        state: what an earlier call returned; None: zeros.
        lengths: of each sample, where they differ; x is padded at the end. After its end a sample's
            outputs are zero, and its state is that of its last step.
        reset: bool, shaped like x without its last dimension; where true, the sample's state is
            zeroed before that step.
        output: the activity of the last layer at each step, shaped like x, zero after a sample's
            end.
        energy: (L, ...) with the shape of the output for each of the L layers: the energy of each
            neuron at each step; of a PackedSequence a tuple of L of them. It has a gradient.
        """
        name = type(self).__name__
        if isinstance(x, PackedSequence):
            if lengths is not None:
                raise ValueError(f"{name}: a PackedSequence has its lengths, so give none")
            self._check_kind(x.data)
            return self._run_packed(x, self._checked(state), reset, energy)
        self._check_kind(x)
        if x.dim() not in (2, 3):
            raise ValueError(f"{name}: x has {x.dim()} dimensions, wants 2 or 3: "
                             f"{'(B, T, I)' if self.batch_first else '(T, B, I)'} or (T, I)")
        if x.size(-1) != self.input_size:
            raise ValueError(f"{name}: x has {x.size(-1)} inputs in its last dimension, wants "
                             f"input_size = {self.input_size}")
        if reset is not None and reset.shape != x.shape[:-1]:
            raise ValueError(f"{name}: reset has shape {tuple(reset.shape)}, wants "
                             f"{tuple(x.shape[:-1])}, that of x without its last dimension")
        if x.dim() == 2:
            return self._run_unbatched(x, state, lengths, reset, energy)
        if self.batch_first:
            x = x.transpose(0, 1)
            reset = None if reset is None else reset.transpose(0, 1)
        state = self._checked(state)
        if lengths is None:
            output, state, energies = self._run(x, state, reset, energy)
        else:
            output, state, energies = self._run_padded(x, state, lengths, reset, energy)
        if self.batch_first:
            output = output.transpose(0, 1)
        if not energy:
            return output, state
        stacked = torch.stack(energies)
        return output, state, stacked.transpose(1, 2) if self.batch_first else stacked

    if TYPE_CHECKING:
        __call__ = forward  # nn.Module's returns Any

    def _check_kind(self, x: Any) -> None:
        """Raises TypeError if x is no tensor, and for one of another precision than the parameters."""
        name = type(self).__name__
        if not isinstance(x, Tensor):
            raise TypeError(f"{name}: x is a {type(x).__name__}, wants a torch.Tensor; torch.as_tensor(x) "
                            "makes one of an array or a list")
        casts = {torch.float32: "float", torch.float64: "double"}
        own = getattr(self, self._keys[0][0][1]).dtype
        # The op knows what to say of other types; under autocast it takes them.
        if x.dtype != own and x.dtype in casts and own in casts:
            raise TypeError(f"{name}: x is {str(x.dtype).removeprefix('torch.')} and the parameters are "
                            f"{str(own).removeprefix('torch.')}: pass x.{casts[own]}(), or call "
                            f".{casts[x.dtype]}() on the module")

    def _checked(self, state: Any) -> StateT | None:
        if state is None or type(state) is self.state_type:
            return state  # type: ignore[return-value]
        fields = self.state_type._fields  # type: ignore[attr-defined]
        if not isinstance(state, tuple) or not 1 <= len(state) <= len(fields):
            raise TypeError(f"{type(self).__name__}: state is a {type(state).__name__}, wants to be "
                            f"({', '.join(fields)}) as an earlier call returned it, or None")
        return self.state_type(*state)

    def _run_unbatched(self, x: Tensor, state: Any, lengths: Any, reset: Tensor | None,
                       energy: bool) -> Any:
        if lengths is not None:
            raise ValueError(f"{type(self).__name__}: lengths are of a batch, and x has none")
        state = self._checked(state)
        output, state, energies = self._run(
            x.unsqueeze(1), None if state is None else self._with_batch(state),
            None if reset is None else reset.unsqueeze(1), energy)
        result = output.squeeze(1), self._without_batch(state)
        return (*result, torch.stack(energies).squeeze(2)) if energy else result

    def _run(self, x: Tensor, state: StateT | None, reset: Tensor | None,
             energy: bool) -> tuple[Tensor, StateT, list[Tensor]]:
        """All layers over x (T, B, I)."""
        if state is None:
            # The op starts from zeros by itself; by an optional state it knows that there is one.
            state = self._zeros(x.size(1), only_optional=True)
        finals: list[list[Tensor]] = [[] for _ in state]
        energies = []
        for layer, keys in enumerate(self._keys):
            given = self._given({name: getattr(self, key) for name, key in keys})
            if energy and layer == 0 and self.measured is not None:
                given["measured"] = self._measured(given)
            for tensor, field in zip(self.signature.states, state):
                given[tensor.name] = None if field is None else field[layer]
            results = self._op(x=x, **given, reset=reset, energy=energy, **self.options)
            # The op does not return h, which is its last output.
            after = list(results[1:-1]) if self._is_feedforward else [results[0][-1], *results[1:-1]]
            for of_layers, final in zip(finals, after):
                of_layers.append(final)
            x = results[0]
            if energy:
                energies.append(results[-1])
            if self.dropout > 0 and layer + 1 < self.num_layers:
                x = nn.functional.dropout(x, self.dropout, self.training)
        return x, self.state_type(*[
            None if not self._has_state(tensor.name) else tuple(of_layers)
            if len(tensor.sizes) > 1 else torch.stack(of_layers)
            for tensor, of_layers in zip(self.signature.states, finals)]), energies

    def _measured(self, given: dict[str, Tensor | None]) -> Tensor:
        """Which presynaptic inputs count: those left out do not, recurrent ones always do."""
        assert self.measured is not None
        weight = given["weight"]
        assert weight is not None
        ones = self.measured.new_ones(weight.size(1) - self.input_size)
        return torch.cat([self.measured, ones]).to(weight.dtype)

    # Sequences of several lengths.

    def _run_packed(self, x: PackedSequence, state: StateT | None, reset: Tensor | None,
                    energy: bool) -> Any:
        if reset is not None:
            raise ValueError(f"{type(self).__name__}: reset goes with a padded x and lengths, not "
                             "with a PackedSequence")
        data, state, energies = self._run_segments(x, state, None, energy)
        if not energy:
            return x._replace(data=data), state
        return x._replace(data=data), state, tuple(x._replace(data=spent) for spent in energies)

    def _run_padded(self, x: Tensor, state: StateT | None, lengths: Any, reset: Tensor | None,
                    energy: bool) -> tuple[Tensor, StateT, list[Tensor]]:
        packed = packing.pack(x, lengths)
        marks = None if reset is None else packing.pack(reset, lengths).data
        data, state, energies = self._run_segments(packed, state, marks, energy)
        padded = [packing.pad(packed._replace(data=values), x.size(0))
                  for values in (data, *energies)]
        return padded[0], state, padded[1:]

    def _run_segments(self, x: PackedSequence, state: StateT | None, reset: Tensor | None,
                      energy: bool) -> tuple[Tensor, StateT, list[Tensor]]:
        """Steps with the same samples are one call; a sample's state is put aside at its end."""
        if x.data.size(-1) != self.input_size:
            raise ValueError(f"{type(self).__name__}: x has {x.data.size(-1)} inputs in its last "
                             f"dimension, wants input_size = {self.input_size}")
        segments = packing.segments_of(x.batch_sizes)
        if state is None:
            state = self._zeros(segments[0][1])
        elif x.sorted_indices is not None:
            state = self._select(state, x.sorted_indices)
        ended, outputs, energies, first = [], [], [], 0
        for steps, samples in segments:
            going_on, rest = packing.split(state, samples)
            ended.append(rest)
            rows = slice(first, first + steps * samples)
            first = rows.stop
            marks = None if reset is None else reset[rows].view(steps, samples)
            output, state, spent = self._run(x.data[rows].view(steps, samples, -1),
                                             self.state_type(*going_on), marks, energy)
            outputs.append(output.flatten(0, 1))
            energies.append([one.flatten(0, 1) for one in spent])
        state = self.state_type(*packing.join([state, *reversed(ended)]))
        if x.unsorted_indices is not None:
            state = self._select(state, x.unsorted_indices)
        per_layer = [torch.cat(parts) for parts in zip(*energies)] if energy else []
        return torch.cat(outputs), state, per_layer

    def _select(self, state: StateT, indices: Tensor) -> StateT:
        return self.state_type(*packing.each(
            state, lambda stacked: stacked.index_select(1, indices),
            lambda fast: fast.index_select(0, indices)))

    # Words.

    def extra_repr(self) -> str:
        words = [f"{self.input_size}, {self.hidden_size}"]
        plain = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0}
        words += [f"{name}={getattr(self, name)!r}" for name, default in plain.items()
                  if getattr(self, name) != default]
        defaults = {option.name: option.default for option in self.signature.options}
        words += [f"{name}={value!r}" for name, value in self.options.items()
                  if value != defaults[name]]
        return ", ".join(words + self._extra_words())

    def _extra_words(self) -> list[str]:
        return []


def fan_in_bound(size: int) -> float:
    """1 / sqrt(size), the bound of most initial values."""
    return 1 / math.sqrt(size)
