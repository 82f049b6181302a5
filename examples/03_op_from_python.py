"""The unit as a PyTorch op: a batch forward, its gradients, and the state carried on.

    make build
    PYTHONPATH=python .venv/bin/python examples/03_op_from_python.py
"""

import torch
from stpn.ops import stpn_recurrent

T, B, I, H = 20, 3, 5, 8  # steps, samples, inputs, neurons
torch.manual_seed(0)
parameters = {
    "weight": torch.randn(H, I + H) / H**0.5,
    "bias": torch.zeros(H),
    "weight_lambda": torch.rand(H, I + H),  # how much of F stays, for each synapse
    "weight_gamma": 0.01 * torch.randn(H, I + H),  # how fast F learns
}
parameters = {name: torch.nn.Parameter(value) for name, value in parameters.items()}

x = torch.randn(T, B, I)
h, F = torch.zeros(B, H), torch.zeros(B, H, I + H)
output, new_F, _, energy = stpn_recurrent(x, h, F, *parameters.values(), energy=True)
print("output", tuple(output.shape), " F", tuple(new_F.shape))
print(f"energy a step: {energy.sum(-1).mean():.3f}")

# Gradients reach every parameter, the decay and growth of each synapse too.
output[-1].square().sum().backward()
for name, parameter in parameters.items():
    print(f"gradient of {name}: norm {parameter.grad.norm():.2g}")
    assert parameter.grad.norm() > 0

# The last activity and F are all the memory there is: two halves equal the whole.
first, middle_F, _, _ = stpn_recurrent(x[:8], h, F, *parameters.values())
second, last_F, _, _ = stpn_recurrent(x[8:], first[-1], middle_F, *parameters.values())
assert torch.allclose(torch.cat([first, second]), output)
assert torch.allclose(last_F, new_F)
print("Two halves equal the whole.")
