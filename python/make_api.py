"""Writes docs/python_api.md, the page of classes and functions, from their docstrings:

    PYTHONPATH=python .venv/bin/python python/make_api.py > docs/python_api.md
"""

import inspect
from importlib import import_module
from operator import attrgetter

import stpn
from stpn import nn

HEAD = """# Which classes and functions does the package have?

Made from the docstrings by `python/make_api.py`; do not edit. [stpn in Python](python.md) says how to use them. `T`
time steps, `B` samples, `I` inputs, `H` neurons, `L` layers.
"""
METHODS = ["forward", "initial_state", "reset_parameters", "leave_out_of_energy", "state_size", "flatten_state",
           "unflatten_state", "flatten_parameters"]
MODULES = {"functional": ["stpn_recurrent", "stpn_feedforward", "fast_weights", "backpropamine"],
           "checkpoints": ["load_unit", "load_weights", "save_unit", "load_published"],
           "onnx_export": ["export"],
           "plots": ["fast_weights_over_time", "efficacy_histogram", "energy_per_neuron"],
           "ops": ["describe"],
           "runtime": ["Network", "Network.memory", "Memory.reset", "Memory.step", "Memory.output"]}
# Of a module whose docstring is on another page: a line instead.
INSTEAD = {"ops": "The torch ops themselves: [the page of ops](ops.md) has each with all its tensors and options."}


def documentation(thing):
    """A docstring; what is indented stays so, as code."""
    return inspect.cleandoc(thing.__doc__)


def arguments(function):
    """The arguments, without types."""
    plain = [parameter.replace(annotation=parameter.empty)
             for parameter in inspect.signature(function).parameters.values()]
    return str(inspect.Signature(plain))


def page():
    """The text of the page."""
    text = HEAD + "\n`stpn.__version__` is the version of the package.\n\n## Units\n"
    for unit in (stpn.STPN, stpn.STPNFeedforward, stpn.HebbFF, stpn.FastWeights, stpn.Backpropamine):
        text += f"\n### stpn.{unit.__name__}\n\n```\n{unit.__name__}{arguments(unit)}\n```\n\n{documentation(unit)}\n"
    text += "\n## Methods of every unit\n"
    for name in METHODS:
        method = getattr(nn.Unit, name)
        call = "" if isinstance(method, property) else arguments(method).replace("(self, ", "(").replace("(self)", "()")
        text += f"\n### unit.{name}\n\n```\n{name}{call}\n```\n\n```\n{documentation(method)}\n```\n"
    text += f"\n## States\n\n{documentation(import_module('stpn.nn.state'))}\n"
    for state in (stpn.STPNState, stpn.STPNFeedforwardState, stpn.FastWeightsState, stpn.BackpropamineState):
        text += f"\n### stpn.{state.__name__}\n\n{documentation(state)}\n"
    text += f"\n`state.detach()`: {documentation(stpn.STPNState.detach)}\n"
    text += f"\n`state.bound_gradient(most)`: {documentation(stpn.STPNState.bound_gradient)}\n"
    text += f"\n`state.to(...)`: {documentation(stpn.STPNState.to)}\n"
    cell = import_module("stpn.nn.cells").Cell
    text += f"\n## Cells\n\n{documentation(cell)}\n\n"
    text += f"```\ncell{arguments(cell.forward).replace('(self, ', '(')}\n```\n\n```\n{documentation(cell.forward)}\n```\n\n"
    text += "".join(f"- `stpn.{name}`\n" for name in stpn.__all__ if name.endswith("Cell"))
    for module_name, names in MODULES.items():
        module = import_module(f"stpn.{module_name}")
        text += f"\n## stpn.{module_name}\n\n{INSTEAD.get(module_name) or documentation(module)}\n"
        for name in names:
            function = attrgetter(name)(module)
            call = arguments(function).replace("(self, ", "(").replace("(self)", "()")
            text += f"\n### stpn.{module_name}.{name}\n\n```\n{name.rpartition('.')[2]}{call}\n```\n\n"
            text += documentation(function) + "\n"
            if inspect.isclass(function):
                text += f"\n{documentation(function.__init__)}\n"
    return text


if __name__ == "__main__":
    print(page(), end="")
