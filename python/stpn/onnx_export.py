"""STPN, STPNFeedforward and HebbFF as ONNX: a Scan over the time steps for each layer.

ONNX has no operator for a unit with fast weights. A Scan carries h and F from step to step; its body
is one step in ONNX's own operators, so any runtime can run it. Needs the package onnx.
"""

import math
import os
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from stpn.nn import STPN, STPNFeedforward

OPSET = 18
_ACTIVATIONS = {"tanh": "Tanh", "sigmoid": "Sigmoid", "relu": "Relu", "identity": "Identity"}
_EPSILON = 1e-16  # of the norms


class _Graph:
    """Nodes, with a name for each result."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[Any] = []

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """The name of the node's result."""
        name = f"{self.prefix}{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name


class _Export:
    def __init__(self, unit: STPN | STPNFeedforward) -> None:
        self.unit = unit
        self.type = (TensorProto.DOUBLE if next(unit.parameters()).dtype == torch.float64
                     else TensorProto.FLOAT)
        self.constants: list[Any] = []

    def constant(self, name: str, value: torch.Tensor) -> str:
        self.constants.append(numpy_helper.from_array(value.detach().contiguous().numpy(), name))
        return name

    def number(self, name: str, value: float) -> str:
        dtype = torch.float64 if self.type == TensorProto.DOUBLE else torch.float32
        return self.constant(name, torch.tensor(value, dtype=dtype))

    def value(self, name: str, *shape: Any) -> Any:
        return helper.make_tensor_value_info(name, self.type, shape)

    def layer(self, layer: int, keys: list[tuple[str, str]], inputs: int) -> tuple[Any, list[str]]:
        """The body of one layer's Scan, and the names of its states."""
        unit, options = self.unit, self.unit.options
        H = unit.hidden_size
        recurrent = isinstance(unit, STPN)
        given = unit._given({name: getattr(unit, key) for name, key in keys})
        g = _Graph(f"l{layer}_")
        weight = given["weight"]
        assert weight is not None
        P = unit._size("P", inputs)
        first = inputs if options.get("connections") == "recurrent" else 0
        plastic, fixed = weight[:, first:first + P], torch.cat([weight[:, :first], weight[:, first + P:]], 1)
        names = {name: self.constant(f"{name}_l{layer}", value) for name, value in given.items()
                 if value is not None and name != "weight"}
        W = self.constant(f"plastic_weight_l{layer}", plastic)

        def axis(k: int) -> str:
            return self.constant(f"axis{k}_l{layer}_{len(self.constants)}", torch.tensor([k]))

        def plastic_inputs(h: str) -> tuple[str, str | None]:
            """z of the synapses with fast weights, and of the others."""
            if not recurrent:
                return "x", None
            if options["connections"] == "all":
                return g.add("Concat", "x", h, axis=1), None
            return ("x", h) if options["connections"] == "input" else (h, "x")

        def norm(F: str) -> str:
            squares = g.add("ReduceSumSquare", g.add("Add", W, F), axis(2), keepdims=0)
            if fixed.size(1) > 0:
                squares = g.add("Add", squares, self.constant(
                    f"square_l{layer}_{len(self.constants)}", fixed.square().sum(1)))
            epsilon = self.number(f"epsilon_l{layer}_{len(self.constants)}", _EPSILON)
            return g.add("Add", g.add("Sqrt", squares), epsilon)

        def outer(h: str, z: str) -> str:
            return g.add("MatMul", g.add("Unsqueeze", h, axis(2)), g.add("Unsqueeze", z, axis(1)))

        def updated(old: str, change: str, decay: str, growth: str) -> str:
            if options["decay"] == "before_update":
                new = g.add("Add", g.add("Mul", decay, old), g.add("Mul", growth, change))
            else:
                new = g.add("Mul", decay, g.add("Add", old, g.add("Mul", growth, change)))
            clamp = options["clamp"]
            if clamp is None or math.isinf(clamp):
                return new
            bound = f"{g.prefix}{len(g.nodes)}"
            return g.add("Clip", new, self.number(f"{bound}_low", -clamp),
                         self.number(f"{bound}_high", clamp))

        def gate(z: str, weight: str) -> str:
            return g.add("MatMul", z, g.add("Transpose", names[weight], perm=[1, 0]))

        z, other = plastic_inputs("h")
        drive = g.add("Squeeze", g.add("MatMul", g.add("Add", W, "F"), g.add("Unsqueeze", z, axis(2))), axis(2))
        if other is not None:
            drive = g.add("Add", drive, g.add("MatMul", other, self.constant(f"fixed_weight_l{layer}", fixed.T)))
        n = norm("F") if options["norm"] != "none" else None
        u = drive if n is None else g.add("Div", drive, n)
        if "bias" in names:
            u = g.add("Add", u, names["bias"])
        if unit.plastic_bias:
            u = g.add("Add", u, "beta")
        if unit.layer_norm:
            u = g.add("LayerNormalization", u, names["layer_norm_weight"], names["layer_norm_bias"],
                      axis=-1, epsilon=1e-5)
        h = g.add(_ACTIVATIONS[options["activation"]], u)
        if unit.update_gate:
            keep = gate(g.add("Concat", "x", "h", axis=1), "update_weight")
            keep = g.add("Add", keep, names["update_bias"])
            keep = g.add("Sigmoid", keep)
            h = g.add("Add", h, g.add("Mul", keep, g.add("Sub", "h", h)))
        old = g.add("Div", "F", g.add("Unsqueeze", n, axis(2))) if n is not None and options["norm"] == "pre" else "F"
        if unit.decay_gate:
            offset = self.number(f"decay_offset_l{layer}", 4.0)
            keep = g.add("Sigmoid", g.add("Add", gate("x", "decay_weight"), offset))
            old = g.add("Mul", old, g.add("Unsqueeze", keep, axis(2)))
        growth = h
        if unit.write_gate:
            twice = self.number(f"write_scale_l{layer}", 2.0)
            growth = g.add("Mul", h, g.add("Mul", twice, g.add("Sigmoid", gate("x", "write_weight"))))
        source = plastic_inputs(h)[0] if options.get("presynaptic") == "current" else z
        if options["rule"] == "oja":
            predicted = g.add("Squeeze", g.add("MatMul", g.add("Unsqueeze", h, axis(1)), old), axis(1))
            source = g.add("Sub", source, predicted)
        F = updated(old, outer(growth, source), names["weight_lambda"], names["weight_gamma"])
        if options["norm"] == "post":
            F = g.add("Div", F, g.add("Unsqueeze", norm(F), axis(2)))
        after = {"h": h, "F": F}
        if unit.plastic_bias:
            after["beta"] = updated("beta", h, names["bias_lambda"], names["bias_gamma"])
        states = [tensor.name for tensor in unit.signature.states if unit._has_state(tensor.name)]
        shapes = {"h": ("B", H), "F": ("B", H, P), "beta": ("B", H)}
        # Every result of a Scan has a name of its own, so an activity that is both has two.
        results = [g.add("Identity", after[name]) for name in states] + [g.add("Identity", h)]
        body = helper.make_graph(
            g.nodes, f"step_l{layer}",
            [self.value(name, *shapes[name]) for name in states] + [self.value("x", "B", inputs)],
            [self.value(result, *shapes[name]) for result, name in zip(results, states)]
            + [self.value(results[-1], "B", H)])
        return body, states

    def model(self) -> Any:
        unit, nodes = self.unit, []
        inputs = [self.value("x", "T", "B", unit.input_size)]
        outputs = [self.value("output", "T", "B", unit.hidden_size)]
        x = "x"
        for layer, keys in enumerate(unit._keys):
            body, states = self.layer(layer, keys, unit._inputs[layer])
            output = "output" if layer + 1 == unit.num_layers else f"output_l{layer}"
            nodes.append(helper.make_node(
                "Scan", [f"{name}_l{layer}" for name in states] + [x],
                [f"final_{name}_l{layer}" for name in states] + [output],
                body=body, num_scan_inputs=1))
            shapes = [[dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
                      for value in body.input]
            inputs += [self.value(f"{name}_l{layer}", *shape) for name, shape in zip(states, shapes)]
            outputs += [self.value(f"final_{name}_l{layer}", *shape) for name, shape in zip(states, shapes)]
            x = output
        graph = helper.make_graph(nodes, type(unit).__name__, inputs, outputs, initializer=self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9,
                                  producer_name="stpn")
        onnx.checker.check_model(model, full_check=True)
        return model


def export(unit: STPN | STPNFeedforward, path: str | os.PathLike[str]) -> None:
    """Writes the unit as an ONNX model.

    Inputs: x (T, B, I), time first whatever batch_first says, and for each layer k the states h_lk
    (B, H), F_lk (B, H, P) and, with a plastic bias, beta_lk (B, H). Outputs: output (T, B, H), and
    each state after the last step, final_h_lk and so on. T and B are dynamic. Nothing is dropped
    out, and there is no reset: pass zeros for the state where an episode begins. Not with rule
    'delta'.
    """
    if not isinstance(unit, (STPN, STPNFeedforward)):
        raise TypeError(f"{type(unit).__name__}: only STPN, STPNFeedforward and HebbFF go to ONNX")
    if unit.options.get("rule") == "delta":
        raise ValueError("rule 'delta' does not go to ONNX: only 'hebb' and 'oja' do")
    onnx.save(_Export(unit).model(), os.fspath(path))
