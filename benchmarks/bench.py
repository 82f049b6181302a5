"""Times the fused units against PyTorch: forward and backward over whole sequences, on the CPU.

For each unit and shape five contenders are timed: our op, the same with 1 % of all steps reset, a loop
over time steps in eager PyTorch, that loop with its step compiled by torch.compile, and an nn.LSTM with
about as many parameters as the STPN. They take turns, so that other load on the machine affects all of
them. In a turn a contender is called repeatedly for 20 ms, as in training; the results are medians over
turns. Each unit and shape runs in a process of its own, as an experiment does, because the state of the
allocator after one would change the times of the next. `limit` is the time of the arithmetic alone, at
the rate of multiply-adds measured in the same run (fma_rate).

    make bench                                            # all rows; a quarter of an hour
    .venv/bin/python benchmarks/bench.py --only stpn_recurrent retrieval --no-compile
    make bench BENCH=--record                             # adds the rows to benchmarks/history.jsonl

The last column compares with the last record of the same processor and threads, both as multiples of
their limit, so that a slower hour counts less.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

import cases
from contender import Contender, check_key, inputs_of, lstm, ours

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "python"))
from stpn import ops  # noqa: E402,F401  registers torch.ops.stpn

PEERS = ["ours", "eager", "compile", "lstm"]
MAX_ROUNDS = 60
RESETS = 0.01  # of all steps


def contenders(case, compile_too):
    inputs = inputs_of(case, case.parameters)
    reset = torch.rand(case.x.shape[:2]) < RESETS
    made = {
        "ours": ours(case),
        "resets": Contender(lambda: case.ours(reset), inputs),
        "eager": Contender(lambda: case.loop(case.step), inputs),
        "lstm": lstm(case),
    }
    if compile_too:
        compiled = torch.compile(case.step)
        made["compile"] = Contender(lambda: case.loop(compiled), inputs)
    return made


def check(case):
    """Checks that our op and the eager loop compute the same."""
    with torch.no_grad():
        ours, theirs = case.ours(), case.loop(case.step)
    steps = min(20, len(ours))  # rounding errors grow with the steps
    worst = (ours[:steps] - theirs[:steps]).abs().max().item()
    if worst > 1e-3:
        sys.exit(f"bench: {case.unit} {case.shape}: ours and the eager loop differ by {worst:.2g}")


def ms(seconds):
    return statistics.median(seconds) * 1e3 if seconds else None


def measure(key, threads, arguments):
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    case = cases.CASES[key]()
    check(case)
    found = contenders(case, not arguments.no_compile)
    for contender in found.values():
        contender.run()  # the first call compiles and allocates memory
    # Slow contenders get fewer turns, so that an eager loop does not take minutes.
    for _ in range(MAX_ROUNDS):
        waiting = [c for c in found.values()
                   if len(c.total_s) < 3 or c.measured_s < arguments.seconds]
        if not waiting:
            break
        for contender in waiting:
            contender.measure()
    row = {"unit": case.unit, "shape": case.shape, "threads": threads}
    row["forward_ms"] = ms(found["ours"].forward_s)
    row["total_ms"] = ms(found["ours"].total_s)
    for peer in PEERS[1:]:
        row[f"{peer}_ms"] = ms(found[peer].total_s) if peer in found else None
    row["resets_ms"] = ms(found["resets"].total_s)
    row["limit_ms"] = case.limit_ms(arguments.rate)
    row["peak_mb"] = peak_mb(key, threads)
    deciles = [statistics.quantiles(found["ours"].total_s, n=10)[k] * 1e3 for k in (0, 8)]
    row["total_ms_p10"], row["total_ms_p90"] = deciles
    return row


def in_own_process(*arguments):
    command = [sys.executable, __file__, *map(str, arguments)]
    process = subprocess.run(command, stdout=subprocess.PIPE)
    if process.returncode != 0:
        sys.exit(process.returncode)  # it has printed the reason
    return json.loads(process.stdout)


def measure_alone(key, threads, arguments, rate):
    compiles = ["--no-compile"] if arguments.no_compile else []
    return in_own_process("--row", *key, "--threads", threads, "--seconds", arguments.seconds,
                          "--rate", rate, *compiles)


def peak_mb(key, threads):
    """Peak resident memory, in MB, of a process that only runs our forward and backward."""
    return in_own_process("--peak", *key, "--threads", threads)


def memory_mb(field):
    """A memory figure of this process, in MB, from the operating system. getrusage would include the
    process that this one was forked from."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(field + r":\s+(\d+) kB", status)[1]) / 1024


def print_peak(key, threads):
    torch.set_num_threads(threads)
    contender = contenders(cases.CASES[key](), False)["ours"]
    for _ in range(2):
        contender.run()
    print(memory_mb("VmHWM"))


def number(value):
    if value is None:
        return "-"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def print_table(rows, history):
    head = ["unit", "shape", "threads", "forward ms", "total ms", "eager", "compile", "LSTM",
            "resets", "limit ms", "peak MB", "last record"]
    print("| " + " | ".join(head) + " |")
    print("|" + " --- |" * len(head))
    for row in rows:
        total = row["total_ms"]
        times = [None if row[f"{peer}_ms"] is None else row[f"{peer}_ms"] / total
                 for peer in PEERS[1:]]
        cells = [row["unit"], row["shape"], str(row["threads"]), number(row["forward_ms"]),
                 f"{number(total)} ({number(row['total_ms_p10'])}..{number(row['total_ms_p90'])})",
                 f"{number(times[0])} x", f"{number(times[1])} x",
                 "-" if times[2] is None else f"{number(1 / times[2])} of it",
                 f"{row['resets_ms'] / total:.2f}",
                 f"{number(row['limit_ms'])}, {number(total / row['limit_ms'])} x",
                 number(row["peak_mb"]), over_record(row, history)]
        print("| " + " | ".join(cells) + " |")


HISTORY = ROOT / "benchmarks" / "history.jsonl"


def processor():
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


def kind(row):
    return row["processor"], row["threads"], row["unit"], row["shape"]


def records():
    """The last record of each processor, number of threads, unit and shape."""
    lines = HISTORY.read_text().splitlines() if HISTORY.exists() else []
    return {kind(row): row for row in map(json.loads, lines)}


def over_record(row, history):
    last = history.get(kind({**row, "processor": processor()}))
    if last is None:
        return "-"
    now, before = (r["total_ms"] / r["limit_ms"] for r in (row, last))
    return f"{now / before:.2f} of {last['commit']}"


def record(rows):
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, check=True,
                            capture_output=True, text=True).stdout.strip()
    origin = {"date": time.strftime("%Y-%m-%d"), "commit": commit, "processor": processor()}
    kept = ("unit", "shape", "threads", "forward_ms", "total_ms", "resets_ms", "lstm_ms", "limit_ms")
    with HISTORY.open("a") as file:
        for row in rows:
            file.write(json.dumps({**origin, **{k: round_off(row[k]) for k in kept}}) + "\n")


def round_off(value):
    return float(f"{value:.4g}") if isinstance(value, float) else value


SIZES = {"T": 64, "B": 32, "I": 48, "H": 48}
SWEPT = {"T": (16, 64, 256), "B": (1, 8, 32, 128, 512), "I": (12, 48, 192, 768, 4096),
         "H": (12, 24, 48, 96, 192, 512)}


def sweep(threads):
    """Measures the STPN while one size varies and the others stay, each point in its own process."""
    rows = []
    for varied in SWEPT:
        for value in SWEPT[varied]:
            size = {**SIZES, varied: value}
            found = in_own_process("--point", *size.values(), "--threads", threads)
            rows.append({"varied": varied, **size, **found})
    return rows


def swept(T, B, I, H):
    cases.SHAPES["sweep"] = cases.Shape(T, B, I, 8)
    return contenders(cases.stpn("sweep", H, "pre", None, True), False)["ours"]


def measure_point(size, threads):
    torch.set_num_threads(threads)
    T, B, I, H = size
    swept(1, 4, 4, 4).run()  # libtorch loads libraries and starts threads at the first call
    contender = swept(T, B, I, H)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = memory_mb("VmRSS")
    contender.run()
    found = {"added_mb": memory_mb("VmHWM") - before}
    for _ in range(10):
        contender.measure()
    found["total_ms"] = ms(contender.total_s)
    found["ns_per_synapse_step"] = found["total_ms"] * 1e6 / (T * B * H * (I + H))
    return found


def print_sweep(rows):
    print("| varied | T | B | I | H | total ms | ns per synapse and step | peak MB added by a call |")
    print("|" + " --- |" * 8)
    for row in rows:
        print(f"| {row['varied']} | {row['T']} | {row['B']} | {row['I']} | {row['H']} | "
              f"{number(row['total_ms'])} | {row['ns_per_synapse_step']:.3f} | "
              f"{row['added_mb']:.0f} |")


def parse():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs=2, metavar=("UNIT", "SHAPE"), help="measure this row only")
    parser.add_argument("--threads", type=int, nargs="+", default=[os.cpu_count()],
                        help="numbers of threads to measure with (default: one per core)")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile")
    parser.add_argument("--no-sweep", action="store_true", help="leave out the sweep over sizes")
    parser.add_argument("--seconds", type=float, default=3, help="measuring time of each contender")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench.json",
                        help="file for the results (default: build/bench.json)")
    parser.add_argument("--record", action="store_true",
                        help="add the rows to benchmarks/history.jsonl")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--row", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--point", type=int, nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--rate", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    key = arguments.only or arguments.peak or arguments.row
    if key:
        check_key(parser, key)
    return arguments


def main():
    arguments = parse()
    if arguments.peak:
        return print_peak(tuple(arguments.peak), arguments.threads[0])
    if arguments.point:
        return print(json.dumps(measure_point(arguments.point, arguments.threads[0])))
    if arguments.row:
        return print(json.dumps(measure(tuple(arguments.row), arguments.threads[0], arguments)))
    rate_program = ROOT / "build" / "bin" / "fma_rate"
    if not rate_program.exists():
        sys.exit(f"bench: there is no {rate_program}: run `make build` first")
    rates = json.loads(subprocess.run([rate_program], check=True, capture_output=True).stdout)
    rows = []
    for threads in arguments.threads:
        for key in [tuple(arguments.only)] if arguments.only else cases.CASES:
            print(f"bench: {' '.join(key)}, {threads} threads", file=sys.stderr)
            rows.append(measure_alone(key, threads, arguments, rates[str(threads)]))
    arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    rate_text = ", ".join(f"{n}: {r / 1e9:.2f}e9" for n, r in rates.items())
    print(f"\nMultiply-adds of 16 floats per second, by number of threads: {rate_text}\n")
    print_table(rows, records())
    if arguments.record:
        record(rows)
    if not arguments.no_sweep and not arguments.only:
        print()
        print_sweep(sweep(max(arguments.threads)))


if __name__ == "__main__":
    main()
