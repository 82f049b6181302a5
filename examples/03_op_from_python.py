"""The unit as a PyTorch op: a batch forward, its gradients, and its state from call to call.

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
    "weight_lambda": torch.rand(H, I + H),  # the decay of F, for each synapse
    "weight_gamma": 0.01 * torch.randn(H, I + H),  # the learning rate of F, for each synapse
}
parameters = {name: torch.nn.Parameter(value) for name, value in parameters.items()}

x = torch.randn(T, B, I)
h, F = torch.zeros(B, H), torch.zeros(B, H, I + H)
output, new_F, _, energy = stpn_recurrent(x, h, F, *parameters.values(), energy=True)
print("output", tuple(output.shape), " F", tuple(new_F.shape))
print(f"energy per step: {energy.sum(-1).mean():.3f}")

# Every parameter has a gradient, also the decay and the learning rate of each synapse.
output[-1].square().sum().backward()
for name, parameter in parameters.items():
    print(f"gradient of {name}: norm {parameter.grad.norm():.2g}")
    assert parameter.grad.norm() > 0

# The last activity and F are the whole state: passed from call to call, two parts equal the whole.
first, middle_F, _, _ = stpn_recurrent(x[:8], h, F, *parameters.values())
second, last_F, _, _ = stpn_recurrent(x[8:], first[-1], middle_F, *parameters.values())
assert torch.allclose(torch.cat([first, second]), output)
assert torch.allclose(last_F, new_F)
print("Two parts equal the whole.")
