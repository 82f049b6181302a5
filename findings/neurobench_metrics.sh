#!/usr/bin/env bash
# neurobench 2.3.0: one right prediction of 0 makes a whole batch as wrong as can be, and other results of Benchmark.
#
# - SMAPE divides by |prediction| + |target|. Where both are 0, that gives NaN, and a batch with a NaN gets 200, the
#   worst value.
# - Accuracy, MSE and SMAPE are weighted by the share of a batch in the data set, also where the loader does not go
#   through all of it. With drop_last, or a sampler of half of the data, a perfect classifier is not at 1.
# - A preprocessor gets and returns the data and the targets. The targets that it returns are not used: the metrics take
#   those of the loader. So predictions of normalized targets are compared with the targets themselves.
# - run(preprocessors=...) and run(postprocessors=...) should override those of the benchmark for this run. They stay
#   for the next runs.
# - SynapticOperations counts, for a recurrent cell that is called without a state, the first sample of each batch only:
#   the count per sample depends on the batch size. A Linear with as many weights shows what it should be.
# - The dense count of an LSTMCell, which should be without regard to zeros, leaves out the zeros of the state.
#
# Fails if that changes. Needs python3 with venv; installs torch (the wheel on PyPI is large: set PIP_EXTRA_INDEX_URL to
# PyTorch's index of CPU wheels).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q torch==2.13.0 numpy==2.4.6
venv/bin/pip install -q --no-deps neurobench==2.3.0 snntorch==1.0.0 tqdm==4.67.1
cat >run.py <<'CODE'
import torch
from neurobench.benchmarks import Benchmark
from neurobench.metrics.workload import MSE, SMAPE, ClassificationAccuracy, SynapticOperations
from neurobench.models import TorchModel
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset


class Identity(torch.nn.Module):
    """What it predicts is its input."""

    def forward(self, x):
        return x


class Layer(torch.nn.Module):
    """A layer, and with a state the state that it is called with."""

    def __init__(self, layer, state=None):
        super().__init__()
        self.layer = layer
        self.state = state

    def forward(self, x):
        if self.state is None:
            return self.layer(x)
        state = torch.full((len(x), 5), self.state)
        return self.layer(x, (state, state) if isinstance(self.layer, torch.nn.LSTMCell) else state)


def benchmark(metric, predictions, targets, model=Identity(), **options):
    loader = DataLoader(TensorDataset(torch.tensor(predictions), torch.tensor(targets)), **options)
    return Benchmark(TorchModel(model), loader, [], [], [[], [metric]])


def run(benchmark, **options):
    (result,) = benchmark.run(quiet=True, **options).values()
    return result


for last in 0.1, 0.0:
    smape = run(benchmark(SMAPE, [1.0, 1.1, 0.9, last], [1.0, 1.0, 1.0, last], batch_size=4))
    print(f"SMAPE of 1 1.1 0.9 {last} for 1 1 1 {last}: {smape:.1f}")

classes = list(range(10))
for text, options in (("all", {}), ("drop_last", {"drop_last": True}),
                      ("a sampler of 5", {"sampler": SubsetRandomSampler(range(5))})):
    accuracy = run(benchmark(ClassificationAccuracy, classes, classes, batch_size=4, **options))
    print(f"accuracy of 10 right predictions in batches of 4, {text}: {accuracy:.1f}")


def halve(data):
    return data[0] / 2, data[1] / 2


right = benchmark(MSE, [2.0, 4.0], [2.0, 4.0], batch_size=2)
print("MSE of 2 4 for 2 4:", run(right))
print("MSE where a preprocessor halves both:", run(right, preprocessors=[halve]))
print("MSE in the next run, without a preprocessor:", run(right))

layers = {"Linear": Layer(torch.nn.Linear(3, 5)), "RNNCell with a state": Layer(torch.nn.RNNCell(3, 5), 0.0),
          "RNNCell without a state": Layer(torch.nn.RNNCell(3, 5))}
for text, layer in layers.items():
    for size in 1, 4:
        loader = benchmark(SynapticOperations, [[1.0] * 3] * 8, [[1.0] * 5] * 8, layer, batch_size=size)
        print(f"operations per sample, batches of {size}, {text}:", run(loader)["Effective_ACs"])

for state in 0.0, 1.0:
    layer = Layer(torch.nn.LSTMCell(3, 5), state)
    layer = benchmark(SynapticOperations, [[1.0] * 3] * 8, [[1.0] * 5] * 8, layer, batch_size=8)
    print(f"dense operations per sample of an LSTMCell with a state of {state:.0f}:", run(layer)["Dense"])
CODE
seen=$(venv/bin/python run.py 2>errors) || { cat errors; exit 1; }
echo "$seen"
wanted="SMAPE of 1 1.1 0.9 0.1 for 1 1 1 0.1: 5.0
SMAPE of 1 1.1 0.9 0.0 for 1 1 1 0.0: 200.0
accuracy of 10 right predictions in batches of 4, all: 1.0
accuracy of 10 right predictions in batches of 4, drop_last: 0.8
accuracy of 10 right predictions in batches of 4, a sampler of 5: 0.5
MSE of 2 4 for 2 4: 0.0
MSE where a preprocessor halves both: 2.5
MSE in the next run, without a preprocessor: 2.5
operations per sample, batches of 1, Linear: 15.0
operations per sample, batches of 4, Linear: 15.0
operations per sample, batches of 1, RNNCell with a state: 15.0
operations per sample, batches of 4, RNNCell with a state: 15.0
operations per sample, batches of 1, RNNCell without a state: 15.0
operations per sample, batches of 4, RNNCell without a state: 3.75
dense operations per sample of an LSTMCell with a state of 0: 70.0
dense operations per sample of an LSTMCell with a state of 1: 175.0"
[[ $seen == "$wanted" ]] || { echo "has changed: was"; echo "$wanted"; exit 1; }
