"""Makes a golden file from the equations of a unit, written out for one time step in double precision.

python tests/golden/make_golden.py UNIT -o FILE.json [--steps 6] [--batch 3] [--seed 1]

The gradients are torch's own. To make one for a new unit, add a class like StpnRecurrent: it must not
use any code of ours, or the file would prove nothing.
"""

import argparse
import json

import torch

INPUTS, HIDDEN = 4, 3


class StpnRecurrent:
    """Norm `pre`, no clamp; Garcia Rodriguez, Guo, Moraitis, ICML 2022, section 3."""

    config = {"unit": "STPNr", "input_size": INPUTS, "hidden_size": HIDDEN, "activation": "tanh",
              "bias": True, "connections": "all", "plasticity_parameters": "matrix",
              "weight_norm": "G", "fast_weight_norm": "pre", "clamp": None, "rule": "hebb",
              "hebbian_presynaptic_hidden": "previous", "decay": "before_update",
              "layer_norm": False, "plastic_bias": False, "fixed": None}
    parameters = {"weight": (HIDDEN, INPUTS + HIDDEN), "bias": (HIDDEN,),
                  "weight_lambda": (HIDDEN, INPUTS + HIDDEN),
                  "weight_gamma": (HIDDEN, INPUTS + HIDDEN)}
    state = {"h": (HIDDEN,), "F": (HIDDEN, INPUTS + HIDDEN)}  # of a sample

    @staticmethod
    def step(p, x, state):
        """Returns output, state and energy, which is the sum of |G| z^2 / n for each neuron."""
        z = torch.cat([x, state["h"]], dim=1)
        G = p["weight"] + state["F"]
        n = G.norm(dim=2, keepdim=True) + 1e-16
        h = torch.tanh(((G / n) * z[:, None]).sum(2) + p["bias"])
        F = p["weight_lambda"] * state["F"] / n + p["weight_gamma"] * h[:, :, None] * z[:, None]
        energy = ((G / n).abs() * z[:, None] ** 2).sum(2)
        return h, {"h": h, "F": F}, energy


class GatedDelta:
    """Two heads, negative eigenvalues; Yang, Kautz, Hatamizadeh, ICLR 2025, as in gated_delta.h."""

    HEADS, KEY, VALUE = 2, 4, 3
    config = {"unit": "GatedDelta", "input_size": INPUTS, "hidden_size": HEADS * VALUE, "heads": HEADS,
              "key_size": KEY, "negative_eigenvalues": True}
    parameters = {"query_weight": (HEADS * KEY, INPUTS), "key_weight": (HEADS * KEY, INPUTS),
                  "value_weight": (HEADS * VALUE, INPUTS), "gate_weight": (HEADS * VALUE, INPUTS),
                  "decay_weight": (HEADS, INPUTS), "write_weight": (HEADS, INPUTS),
                  "decay_log": (HEADS,), "decay_bias": (HEADS,), "norm_weight": (VALUE,)}
    state = {"S": (HEADS * VALUE, KEY)}

    @classmethod
    def projections(cls, p, x):
        """q and k (B, HEADS, KEY), v (B, HEADS, VALUE), the logarithm of the decay and the write (B,
        HEADS)."""
        def unit_length(weight):
            u = torch.nn.functional.silu(x @ weight.T).unflatten(1, (cls.HEADS, cls.KEY))
            return u / (u.square().sum(2, keepdim=True) + 1e-6).sqrt()

        v = torch.nn.functional.silu(x @ p["value_weight"].T).unflatten(1, (cls.HEADS, cls.VALUE))
        pace = torch.nn.functional.softplus(x @ p["decay_weight"].T + p["decay_bias"])
        return (unit_length(p["query_weight"]), unit_length(p["key_weight"]), v,
                -p["decay_log"].exp() * pace, 2 * torch.sigmoid(x @ p["write_weight"].T))

    @classmethod
    def output(cls, p, x, read):
        """The output of a step from what it reads, (B, HEADS, VALUE)."""
        rms = (read.square().mean(2, keepdim=True) + 1e-5).sqrt()
        return (read / rms * p["norm_weight"]).flatten(1) * torch.nn.functional.silu(x @ p["gate_weight"].T)

    @classmethod
    def step(cls, p, x, state):
        q, k, v, decay, write = cls.projections(p, x)
        before = state["S"].unflatten(1, (cls.HEADS, cls.VALUE))  # (B, HEADS, VALUE, KEY)
        S = decay.exp()[..., None, None] * before
        error = v - torch.einsum("bhvk,bhk->bhv", S, k)
        S = S + write[..., None, None] * error[..., None] * k[:, :, None]
        h = cls.output(p, x, torch.einsum("bhvk,bhk->bhv", S, q) / cls.KEY ** 0.5)

        def of_head(name, size):
            return ((x ** 2) @ p[name].abs().T).unflatten(1, (cls.HEADS, size)).sum(2, keepdim=True)

        energy = (x ** 2) @ (p["value_weight"].abs() + p["gate_weight"].abs()).T
        shared = (of_head("query_weight", cls.KEY) + of_head("key_weight", cls.KEY)
                  + of_head("decay_weight", 1) + of_head("write_weight", 1)) / cls.VALUE
        stored = torch.einsum("bhvk,bhk->bhv", before.abs(), q ** 2 + k ** 2)
        return h, {"S": S.flatten(1, 2)}, energy + (shared + stored).flatten(1)


class GatedStpn:
    """StpnRecurrent with an update, a write and a decay gate (stpn/kernels/stpn/equations.h)."""

    config = StpnRecurrent.config | {"update_gate": True, "write_gate": True, "decay_gate": True}
    parameters = StpnRecurrent.parameters | {
        "update_weight": (HIDDEN, INPUTS + HIDDEN), "update_bias": (HIDDEN,),
        "write_weight": (HIDDEN, INPUTS), "decay_weight": (HIDDEN, INPUTS)}
    state = StpnRecurrent.state

    @staticmethod
    def step(p, x, state):
        z = torch.cat([x, state["h"]], dim=1)
        G = p["weight"] + state["F"]
        n = G.norm(dim=2, keepdim=True) + 1e-16
        candidate = torch.tanh(((G / n) * z[:, None]).sum(2) + p["bias"])
        keep = torch.sigmoid(z @ p["update_weight"].T + p["update_bias"])
        h = keep * state["h"] + (1 - keep) * candidate
        write = 2 * torch.sigmoid(x @ p["write_weight"].T)
        stay = torch.sigmoid(x @ p["decay_weight"].T + 4)
        F = (stay[:, :, None] * p["weight_lambda"] * state["F"] / n
             + (write * h)[:, :, None] * p["weight_gamma"] * z[:, None])
        energy = ((G / n).abs() * z[:, None] ** 2).sum(2) + (
            z ** 2 @ p["update_weight"].abs().T + x ** 2 @ p["write_weight"].abs().T
            + x ** 2 @ p["decay_weight"].abs().T)
        return h, {"h": h, "F": F}, energy


class DeltaStpn:
    """StpnRecurrent with rule `delta` (stpn/kernels/stpn/equations.h)."""

    config = StpnRecurrent.config | {"rule": "delta"}
    parameters = StpnRecurrent.parameters
    state = StpnRecurrent.state

    @staticmethod
    def step(p, x, state):
        z = torch.cat([x, state["h"]], dim=1)
        h, _, energy = StpnRecurrent.step(p, x, state)
        n = (p["weight"] + state["F"]).norm(dim=2) + 1e-16
        value = torch.tanh(z @ p["weight"].T / n + p["bias"])
        recalled = torch.einsum("bhn,bn->bh", state["F"], z) / n
        growth = (value - recalled) / (z.square().sum(1, keepdim=True) + 1e-6)
        F = (p["weight_lambda"] * state["F"] / n[:, :, None]
             + p["weight_gamma"] * growth[:, :, None] * z[:, None])
        return h, {"h": h, "F": F}, energy


class GatedDeltaStpn:
    """DeltaStpn with the gates of GatedStpn."""

    config = GatedStpn.config | {"rule": "delta"}
    parameters = GatedStpn.parameters
    state = GatedStpn.state

    @staticmethod
    def step(p, x, state):
        h, _, energy = GatedStpn.step(p, x, state)
        _, learnt, _ = DeltaStpn.step(p | {"weight_lambda": torch.zeros_like(p["weight_lambda"])}, x, state)
        n = (p["weight"] + state["F"]).norm(dim=2, keepdim=True) + 1e-16
        write = 2 * torch.sigmoid(x @ p["write_weight"].T)
        stay = torch.sigmoid(x @ p["decay_weight"].T + 4)
        F = stay[:, :, None] * p["weight_lambda"] * state["F"] / n + write[:, :, None] * learnt["F"]
        return h, {"h": h, "F": F}, energy


UNITS = {"stpn_recurrent": StpnRecurrent, "stpn_gates": GatedStpn, "stpn_delta": DeltaStpn,
         "stpn_gates_delta": GatedDeltaStpn, "gated_delta": GatedDelta}


def array(tensor):
    return {"shape": list(tensor.shape), "data": tensor.detach().flatten().tolist()}


def arrays(tensors):
    return {name: array(tensor) for name, tensor in tensors.items()}


def golden(name, unit, steps, batch, seed):
    """The content of the file; parameters, input, initial state and cotangents are drawn."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    p = {key: (0.5 * draw(*shape)).requires_grad_() for key, shape in unit.parameters.items()}
    initial = {key: (0.5 * draw(batch, *shape)).requires_grad_()
               for key, shape in unit.state.items()}
    x = draw(steps, batch, INPUTS).requires_grad_()

    outputs, energies, state = [], [], initial
    for x_t in x:
        output, state, energy = unit.step(p, x_t, state)
        outputs.append(output)
        energies.append(energy)
    output = torch.stack(outputs)
    weight = draw(*output.shape)
    state_weight = {key: draw(*tensor.shape) for key, tensor in state.items()}
    loss = (output * weight).sum() + sum((state[key] * state_weight[key]).sum() for key in state)
    wanted = {"x": x, **{f"param.{key}": tensor for key, tensor in p.items()},
              **{f"initial.{key}": tensor for key, tensor in initial.items()}}
    gradients = torch.autograd.grad(loss, list(wanted.values()))
    return {"name": name, "config": unit.config, "params": arrays(p), "x": array(x),
            "initial_state": arrays(initial), "output": array(output),
            "final_state": arrays(state), "cotangent_output": array(weight),
            "cotangent_final_state": arrays(state_weight), "loss": loss.item(),
            "energy": array(torch.stack(energies)), "grad": arrays(dict(zip(wanted, gradients)))}


def main():
    parser = argparse.ArgumentParser(description="Makes a golden file from a unit's equations.")
    parser.add_argument("unit", choices=UNITS)
    parser.add_argument("-o", "--output", required=True, metavar="FILE.json")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    content = golden(f"{given.unit}_{given.seed}", UNITS[given.unit], given.steps, given.batch,
                     given.seed)
    with open(given.output, "w") as file:
        json.dump(content, file)


if __name__ == "__main__":
    main()
