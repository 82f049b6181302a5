"""The signature of a unit's op, read from what the op says of itself (`stpn.ops.describe`).

Names, shapes, defaults and choices stand once, in the signatures of the C++ library
(stpn/kernels/<unit>/signature.h); the modules take them from here.
"""

import re
from dataclasses import dataclass
from typing import Any

import torch

from stpn.ops import describe

_LINE = re.compile(r"  (?:-> )?(\w+) +((?:\([^)]*\)(?:, | or )?)+(?: bool)?|number|bool)? +(.*)")


@dataclass(frozen=True)
class Option:
    """An option of a unit. `choices` is empty for a number; a default of None means: no bound."""

    name: str
    default: Any
    choices: tuple[str, ...]
    meaning: str

    def check(self, unit: str, value: Any) -> Any:
        """The value as the op takes it. Raises ValueError or TypeError, in one line."""
        if self.choices:
            if value not in self.choices:
                raise ValueError(
                    f"{unit}: {self.name} is {value!r}, wants one of {', '.join(self.choices)}"
                )
            return value
        if value is None and self.default is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{unit}: {self.name} is {value!r}, wants a number")
        if isinstance(self.default, int):
            if int(value) != value:
                raise ValueError(f"{unit}: {self.name} is {value}, wants a whole number")
            return int(value)
        return float(value)


@dataclass(frozen=True)
class StateTensor:
    """A tensor of the state: its sizes after the batch, by letter ("H", or "HP")."""

    name: str
    sizes: str
    optional: bool


@dataclass(frozen=True)
class Signature:
    """What a unit's op takes."""

    op: str
    states: tuple[StateTensor, ...]
    options: tuple[Option, ...]

    def description(self) -> str:
        """The options for a docstring, a line each."""
        lines = ["    Options of the unit, by name:", ""]
        for option in self.options:
            default = "none" if option.default is None else repr(option.default)
            words = f" ({', '.join(option.choices)})" if option.choices else ""
            lines.append(f"    - {option.name} = {default}: {option.meaning}{words}")
        return "\n".join(lines) + "\n"

    def resolve(self, unit: str, given: dict[str, Any]) -> dict[str, Any]:
        """Every option with its value. Raises TypeError or ValueError for what cannot be one."""
        known = {option.name: option for option in self.options}
        for name in given:
            if name not in known:
                raise TypeError(f"{unit}: there is no option {name!r}: {', '.join(known)}")
        return {
            name: option.check(unit, given.get(name, option.default))
            for name, option in known.items()
        }


def signature_of(op: str) -> Signature:
    """The signature of the op of this name, such as "stpn_recurrent"."""
    arguments = {
        argument.name: argument
        for argument in getattr(torch.ops.stpn, op).default._schema.arguments
    }
    states, options = [], []
    for line in describe(op).splitlines()[1:]:
        match = _LINE.fullmatch(line)
        if match is None:
            raise RuntimeError(f"the op library describes {op} in a way that is not known: {line}")
        name, shape, meaning = match.groups()
        if line.startswith("  ->"):
            break
        argument = arguments[name]
        if meaning.startswith("state: "):
            sizes = shape.strip("()").replace(", ", "")
            states.append(StateTensor(name, sizes[1:], argument.default_value is None
                                      and argument.has_default_value()))
        elif str(argument.type) in ("str", "float", "int", "Optional[float]"):
            choices: tuple[str, ...] = ()
            if str(argument.type) == "str":
                meaning, _, last = meaning.rpartition(" (")
                choices = tuple(last.rstrip(")").split(", "))
            options.append(Option(name, argument.default_value, choices, meaning))
    return Signature(op, tuple(states), tuple(options))
