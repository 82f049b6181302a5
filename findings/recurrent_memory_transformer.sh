#!/usr/bin/env bash
# recurrent-memory-transformer-pytorch 0.7.0: two arguments that do nothing.
#
# - RecurrentMemoryTransformerWrapper's forward(labels=...) is set to None before it is used: the loss is always that of
#   the next tokens of x, also where all labels are the index to be ignored.
# - enhanced_xl_recurrence should hand each layer the memory of the layer above it. The memories are shifted only after
#   the loop over layers has got its own iterator of them, so that each layer has its own as ever.
#
# Fails if that changes. Needs python3 with venv; installs torch (the wheel on PyPI is large: set PIP_EXTRA_INDEX_URL to
# PyTorch's index of CPU wheels).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 numpy==2.4.6 packaging==25.0
venv/bin/pip install -q --no-deps recurrent-memory-transformer-pytorch==0.7.0 einops==0.8.1 hyper-connections==0.4.11 \
  torch-einops-utils==0.2.0
cat >run.py <<'CODE'
import torch
from recurrent_memory_transformer_pytorch import RecurrentMemoryTransformer, RecurrentMemoryTransformerWrapper


def model(**options):
    torch.manual_seed(0)
    return RecurrentMemoryTransformer(dim=16, num_tokens=10, depth=3, num_memory_tokens=2, seq_len=8, dim_head=8, heads=2,
                                      **options).eval()


x = torch.randint(0, 10, (1, 16), generator=torch.Generator().manual_seed(1))
wrapper = RecurrentMemoryTransformerWrapper(model())
losses = [wrapper(x, return_loss=True, labels=labels)[0] for labels in (None, torch.zeros_like(x), torch.full_like(x, -1))]
print("without labels, with labels 0 and with ignored labels the loss is", *(f"{float(v):.3f}" for v in losses))

outputs = []
for enhanced in False, True:
    net = model(enhanced_xl_recurrence=enhanced)
    _, memories, xl_memories = net(x[:, :8])
    outputs.append(net(x[:, 8:], memories, xl_memories=xl_memories)[0])
shifted = net(x[:, 8:], memories, xl_memories=[*xl_memories[1:], xl_memories[0]])[0]
print("enhanced_xl_recurrence", "changes nothing," if torch.equal(*outputs) else "matters,", "memories that one shifts oneself",
      "change nothing" if torch.allclose(shifted, outputs[0]) else "matter")
CODE
seen=$(venv/bin/python run.py 2>errors) || { cat errors; exit 1; }
echo "$seen"
wanted="without labels, with labels 0 and with ignored labels the loss is 2.585 2.585 2.585
enhanced_xl_recurrence changes nothing, memories that one shifts oneself matter"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
