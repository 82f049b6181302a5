"""Times the STPN's CUDA kernels against PyTorch on the same card, in the same run: forward and backward.

Contenders: our kernels, a loop over time steps in eager PyTorch, the same loop with its step compiled by
torch.compile, and cuDNN's LSTM with about as many parameters. They take turns; the results are medians.
All are called from Python, as a program would. `kernels_ms` is the time of our kernels alone, replayed as
a CUDA graph: at small sizes most of a call is Python.
benchmarks/gpu_check.sh runs this after the tests. Writes one JSON file.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import cases  # noqa: E402
import stpn_cuda  # noqa: E402

SETTINGS = {"retrieval": {"norm": "pre"}, "maze": {"norm": "post", "clamp": 1.0},
            "familiarity": {"norm": "pre"}, "pong": {"norm": "pre"}}
# What is asked for: milliseconds at most, and ratios to the contenders' times.
TARGETS = {"maze": {"ms": 5, "eager": 100, "compile": 10, "lstm": 1 / 1.5},
           "pong": {"ms": 6, "eager": 60},
           "retrieval": {"ms": 0.15, "eager": 20},
           "familiarity": {"ms": 25, "eager": 60}}
MEMORY_TARGET = 4  # times less than the eager loop
PEERS = ["ours", "eager", "compile", "lstm"]
REPETITIONS = 10


class Contender:
    def __init__(self, forward, inputs):
        self.forward, self.inputs = forward, inputs
        self.cotangent = None
        self.forward_ms, self.total_ms = [], []

    def run(self):
        """One forward and backward. Returns the milliseconds of forward and of both."""
        start, middle, end = (torch.cuda.Event(enable_timing=True) for _ in range(3))
        start.record()
        output = self.forward()
        middle.record()
        if self.cotangent is None:
            self.cotangent = torch.rand_like(output)
        output.backward(self.cotangent)
        end.record()
        end.synchronize()
        gradients = [tensor.grad for tensor in self.inputs]
        for tensor in self.inputs:
            tensor.grad = None
        self.last = [output.detach(), *gradients]
        return start.elapsed_time(middle), start.elapsed_time(end)

    def measure(self, seconds):
        until = time.perf_counter() + seconds
        while True:
            forward, total = self.run()
            self.forward_ms.append(forward)
            self.total_ms.append(total)
            if time.perf_counter() > until:
                return

    def peak_mb(self):
        torch.cuda.synchronize()
        self.last = None
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        self.run()
        self.last = None
        return (torch.cuda.max_memory_allocated() - before) / 1e6


def kernels_ms(library, name, tensors, wanted):
    """Milliseconds of forward and backward without Python between the kernels."""
    tensors = {key: value.detach() for key, value in tensors.items()}
    call = stpn_cuda.Call(library, stpn_cuda.KERNELS, tensors, **SETTINGS[name])
    call.forward()
    cotangent = torch.rand_like(call.output)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call = stpn_cuda.Call(library, stpn_cuda.KERNELS, tensors, **SETTINGS[name])
        call.forward()
        gradients = call.backward(cotangent, wanted=wanted)
    times = []
    for _ in range(20):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    del gradients
    return statistics.median(times)


def contenders(name, library, compile_too):
    """By name; and what kernels_ms takes."""
    case = cases.CASES["stpn_recurrent", name]()
    shape = cases.SHAPES[name]
    weight, bias, decay, growth = case.parameters
    hidden, fan_in = weight.shape
    tensors = {"x": case.x, "h": torch.zeros(shape.batch, hidden),
               "F": torch.zeros(shape.batch, hidden, fan_in), "weight": weight, "bias": bias,
               "weight_lambda": decay, "weight_gamma": growth}
    inputs = case.parameters + ([case.x] if case.x.requires_grad else [])
    unit = torch.nn.LSTM(shape.inputs, shape.lstm_hidden)
    found = {
        "ours": Contender(lambda: stpn_cuda.run(library, tensors, **SETTINGS[name])[0], inputs),
        "eager": Contender(lambda: case.loop(case.step), inputs),
        "lstm": Contender(lambda: unit(case.x)[0], [*unit.parameters(), *inputs[4:]]),
    }
    if compile_too:
        compiled = torch.compile(case.step)
        found["compile"] = Contender(lambda: case.loop(compiled), inputs)
    wanted = [key for key, value in tensors.items() if value.requires_grad]
    return found, tensors, wanted


def same_bits(ours):
    """Whether repetitions give the same bits."""
    ours.run()
    first = ours.last
    for _ in range(REPETITIONS - 1):
        ours.run()
        if not all(torch.equal(a, b) for a, b in zip(first, ours.last)):
            return False
    return True


def measure(name, library, seconds, compile_too):
    torch.manual_seed(1)
    torch._dynamo.reset()  # else the step is compiled for changing shapes
    with torch.device("cuda"):
        found, tensors, wanted = contenders(name, library, compile_too)
    for peer, contender in list(found.items()):
        try:
            contender.run()  # the first call compiles and allocates memory
            contender.run()
        except Exception as error:  # torch.compile raises what its compilers raise
            if peer != "compile":
                raise
            del found[peer]
            print(f"{name}: without torch.compile: {type(error).__name__}: {error}", flush=True)
    ours, eager = found["ours"], found["eager"]
    steps = min(20, len(ours.last[0]))  # rounding errors grow with the steps
    difference = (ours.last[0][:steps] - eager.last[0][:steps]).abs().max().item()
    for _ in range(3):
        for contender in found.values():
            contender.measure(seconds / 3)
    row = {"shape": name, "T": cases.SHAPES[name].steps, "B": cases.SHAPES[name].batch,
           "difference_from_eager": difference, "same_bits": same_bits(ours),
           "kernels_ms": kernels_ms(library, name, tensors, wanted)}
    for peer, contender in found.items():
        times = statistics.quantiles(contender.total_ms, n=10) if len(contender.total_ms) > 1 else (
            contender.total_ms * 9)
        row[f"{peer}_ms"] = statistics.median(contender.total_ms)
        row[f"{peer}_forward_ms"] = statistics.median(contender.forward_ms)
        row[f"{peer}_ms_p10"], row[f"{peer}_ms_p90"] = times[0], times[8]
    for peer in ("ours", "eager"):
        row[f"{peer}_peak_mb"] = found[peer].peak_mb()
    row["missed"], row["wrong"] = missed(row), wrong(row)
    return row


def missed(row):
    """The targets that the row misses, in words."""
    target, ours = TARGETS[row["shape"]], row["ours_ms"]
    found = []
    if ours > target["ms"]:
        found.append(f"{ours:.3g} ms, at most {target['ms']}")
    for peer in PEERS[1:]:
        if peer in target and f"{peer}_ms" in row and row[f"{peer}_ms"] / ours < target[peer]:
            found.append(f"{row[f'{peer}_ms'] / ours:.3g} x {peer}, at least {target[peer]:.3g}")
    if row["eager_peak_mb"] < MEMORY_TARGET * row["ours_peak_mb"]:
        found.append(f"{row['ours_peak_mb']:.0f} MB, eager {row['eager_peak_mb']:.0f}")
    return found


def wrong(row):
    """What must not be, in words."""
    found = [] if row["same_bits"] else ["other bits in a repetition"]
    if not row["difference_from_eager"] < 1e-3:
        found.append(f"differs from the eager loop by {row['difference_from_eager']:.2g}")
    return found


def print_table(rows):
    head = ["shape", "T x B", "kernels ms", "forward ms", "total ms", *(f"{peer} / ours" for peer in PEERS[1:]),
            "peak MB", "eager MB", "missed"]
    print("| " + " | ".join(head) + " |")
    print("|" + " --- |" * len(head))
    for row in rows:
        ratios = [f"{row[f'{peer}_ms'] / row['ours_ms']:.3g}" if f"{peer}_ms" in row else "-"
                  for peer in PEERS[1:]]
        cells = [row["shape"], f"{row['T']} x {row['B']}", f"{row['kernels_ms']:.3g}",
                 f"{row['ours_forward_ms']:.3g}", f"{row['ours_ms']:.3g}", *ratios, f"{row['ours_peak_mb']:.0f}",
                 f"{row['eager_peak_mb']:.0f}", "; ".join(row["wrong"] + row["missed"]) or "nothing"]
        print("| " + " | ".join(cells) + " |", flush=True)


def driver():
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:
        return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--library", required=True, help="libstpn_cuda.so")
    parser.add_argument("--out", required=True, help="folder of the JSON file")
    parser.add_argument("--checks", default="{}", help="JSON: what the checks before this gave")
    parser.add_argument("--seconds", type=float, default=1.5, help="of each contender and shape")
    parser.add_argument("--deadline", type=float, default=240,
                        help="seconds after which torch.compile is left out")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("skipped: no GPU")
    torch.backends.cudnn.allow_tf32 = False  # ours compute in float
    library = stpn_cuda.Library(arguments.library)
    started = time.perf_counter()
    device = torch.cuda.get_device_name()
    rows = []
    report = {"device": device, "driver": driver(), "torch": torch.__version__,
              "cuda": torch.version.cuda, "checks": json.loads(arguments.checks), "rows": rows}
    folder = Path(arguments.out)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (device.lower().replace(" ", "_").replace("/", "_") + ".json")
    for name in ("maze", "pong", "retrieval", "familiarity"):
        in_time = time.perf_counter() - started < arguments.deadline
        rows.append(measure(name, library, arguments.seconds, compile_too=in_time))
        path.with_suffix(".tmp").write_text(json.dumps(report, indent=1) + "\n")
        os.replace(path.with_suffix(".tmp"), path)  # what there is, should time run out
    print_table(rows)
    print(f"wrote {path}")
    sys.exit(any(row["wrong"] for row in rows))


if __name__ == "__main__":
    main()
