"""The signature of a unit's op, read from what the op says of itself (`stpn.ops.describe`).

Names, shapes, defaults and choices stand once, in the signatures of the C++ library
(stpn/kernels/<unit>/signature.h); the modules take them from here.
"""

import difflib
import re
from dataclasses import dataclass
from typing import Any

import torch

from stpn.ops import describe

_LINE = re.compile(r"  (?:-> )?(\w+) +((?:\([^)]*\)(?:, | or )?)+(?: bool)?|number|bool)? +(.*)")

# What values of options were called in earlier versions, and what they are called now; as in the C++
# library (`choice_formerly` in stpn/nn/stpn/stpn_unit.cc).
FORMERLY = {"norm": {"drive": "preactivation"}, "rates": {"source": "presynaptic"},
            "bias_rates": {"unit": "neuron"}}


def current_value(option: str, value: Any) -> Any:
    """The value, by the name that it has now."""
    return FORMERLY.get(option, {}).get(value, value) if isinstance(value, str) else value


def check_choice(what: str, option: str, value: Any, choices: tuple[str, ...]) -> str:
    """The value. Raises ValueError, in one line, if it is not one of the choices.

    what: the beginning of the line, such as "STPN: ".
    """
    if value in choices:
        return value
    now = current_value(option, value)
    raise ValueError(f"{what}{option} is {value!r}, " + (
        f"which is now called {now!r}" if now in choices else f"wants one of {', '.join(choices)}"))


def unknown_option(unit: str, name: str, known: list[str]) -> TypeError:
    """What is wrong with an option that there is not."""
    near = difflib.get_close_matches(name, known, 1)
    meant = f" (did you mean {near[0]!r}?)" if near else ""
    return TypeError(f"{unit}: there is no option {name!r}{meant}; there are {', '.join(known)}")


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
            return check_choice(f"{unit}: ", self.name, value, self.choices)
        if value is None and self.default is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{unit}: {self.name} is {value!r}, wants a number")
        if self.default is None and not value > 0:  # a bound; a number that is NaN is not above 0 either
            raise ValueError(f"{unit}: {self.name} is {value}, wants a number above 0")
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
                raise unknown_option(unit, name, list(known))
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
