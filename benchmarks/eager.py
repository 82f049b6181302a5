"""The units as a researcher would write them in PyTorch: a function for one step, and a loop over time.

The fused ops are timed against these functions and must agree with them. Symbols and shapes are those
of stpn/kernels/<unit>/equations.h; x is (T, B, I).
"""

import torch


def stpn_step(x, state, p, norm, clamp, recurrent):
    h, F = state
    z = torch.cat([x, h], 1) if recurrent else x
    G = p["weight"] + F
    u = torch.matmul(G, z.unsqueeze(2)).squeeze(2)
    if norm != "none":
        n = G.norm(dim=2) + 1e-16
        u = u / n
    if p["bias"] is not None:
        u = u + p["bias"]
    h = torch.tanh(u)
    old = F / n.unsqueeze(2) if norm == "pre" else F
    F = p["weight_lambda"] * old + p["weight_gamma"] * (h.unsqueeze(2) * z.unsqueeze(1))
    if clamp is not None:
        F = torch.clamp(F, -clamp, clamp)
    if norm == "post":
        F = F / ((p["weight"] + F).norm(dim=2, keepdim=True) + 1e-16)
    return h, (h, F)


def fast_weights_step(x, state, p, decay=0.9, rate=0.5):
    h, A = state
    slow = torch.nn.functional.linear(torch.cat([x, h], 1), p["weight"], p["bias"])
    A = decay * A + rate * (h.unsqueeze(2) * h.unsqueeze(1))

    def activate(u):
        gain, offset = p["layer_norm_weight"], p["layer_norm_bias"]
        return torch.tanh(torch.nn.functional.layer_norm(u, u.shape[-1:], gain, offset))

    h = activate(slow + torch.matmul(A, activate(slow).unsqueeze(2)).squeeze(2))
    return h, (h, A)


def modplast_step(x, state, p):
    h, P = state
    G = p["weight_hh"] + p["alpha"] * P
    preactivation = torch.nn.functional.linear(x, p["weight_ih"], p["bias"])
    new = torch.tanh(preactivation + torch.matmul(G, h.unsqueeze(2)).squeeze(2))
    m = torch.tanh(new @ p["modulator_weight"] + p["modulator_bias"])
    P = torch.clamp(P + m.view(-1, 1, 1) * (new.unsqueeze(2) * h.unsqueeze(1)), -1, 1)
    return new, (new, P)


def loop(step, x, state, *arguments):
    """Runs all steps. Returns the outputs (T, B, H) and the final state."""
    outputs = []
    for x_t in x:
        h, state = step(x_t, state, *arguments)
        outputs.append(h)
    return torch.stack(outputs), state
