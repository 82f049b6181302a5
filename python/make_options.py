"""Writes options.py, the types of the units' options, from the signatures of the op library:

    PYTHONPATH=python .venv/bin/python python/make_options.py > python/stpn/nn/options.py
"""

from stpn.signature import Option, signature_of

UNITS = {"STPN": "stpn_recurrent", "STPNFeedforward": "stpn_feedforward",
         "FastWeights": "fast_weights", "Backpropamine": "backpropamine"}

HEAD = '''"""The options of each unit, for type checkers and readers. Made by make_options.py from the signatures
of the op library, where names, defaults and choices stand: do not edit."""

from typing import Literal, TypedDict

'''


def type_of(option: Option) -> str:
    """The type of an option's values, as source."""
    if option.choices:
        return "Literal[" + ", ".join(f'"{choice}"' for choice in option.choices) + "]"
    if option.default is None:
        return "float | None"
    return type(option.default).__name__


def wrapped(text: str, width: int = 96) -> list[str]:
    """Lines of a comment."""
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > width - 6:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return [f"    # {one}" for one in lines + [line]]


def source() -> str:
    """The text of options.py."""
    text = HEAD
    for unit, op in UNITS.items():
        text += f'\nclass {unit}Options(TypedDict, total=False):\n    """Options of `{unit}`."""\n\n'
        for option in signature_of(op).options:
            default = "none" if option.default is None else repr(option.default)
            text += "\n".join(wrapped(f"{option.meaning}. Default: {default}")) + "\n"
            text += f"    {option.name}: {type_of(option)}\n"
        text += "\n"
    return text.rstrip("\n") + "\n"


if __name__ == "__main__":
    print(source(), end="")
