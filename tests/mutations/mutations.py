"""Puts faults into a copy of the kernels, one at a time: the kernels' tests must catch every one.

    python3 tests/mutations/mutations.py [-j 2] [--only REGEX] [--check]

A fault is a piece of a source that is replaced by another (faults.py). Only what includes the
changed file is compiled again, without optimisation and for one SIMD target, and the tests of the
unit run until the first one fails. Exit code 1: a fault was not caught, or does not fit its source.
"""

import argparse
import concurrent.futures
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time

from faults import FAULTS

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMPILER = os.environ.get("CXX", "c++")
# AVX2 where there is one, so that a fault meets the same lengths of vectors on every such machine.
# (Highway counts AES to it, which g++ does not count to a Haswell.)
MACHINE = (["-march=haswell", "-maes"] if platform.machine() == "x86_64" else ["-march=native"])
# Scratch memory starts as NaN, as with the address sanitizer, so that stale values do not pass.
FLAGS = ["-std=c++20", "-O0", "-w", "-I.", "-DHWY_COMPILE_ONLY_STATIC", *MACHINE]
SCRATCH_POOL = "stpn/kernels/cpu/scratch_pool.cc"
LIBRARIES = ["-lhwy", "-lgtest_main", "-lgtest", "-lfmt", "-lpthread"]
TEST_SECONDS = 300  # a test that takes longer hangs

BASE = ["stpn/base/random.cc"]
# The layouts of a shard, and the folders of their passes.
LAYOUTS = {"row_vectorised": "", "neuron_blocks": "", "two_steps": "two_steps/"}


class Object:
    """A source, and the macros it is compiled with."""

    def __init__(self, source, **macros):
        self.source = source
        self.flags = [f"-D{name}={value}" for name, value in macros.items()]
        self.name = re.sub(r"\W+", "_", "_".join([source, *macros.values()])) + ".o"

    def depends_on(self, scratch, path):
        """Whether it includes a file, as the compiler has written it down."""
        written = (scratch / self.name).with_suffix(".d").read_text()
        return path in written.replace("\\\n", " ").split()

    def compile(self, scratch, folder):
        """To folder/name; None or what the compiler says. Where ccache is, it keeps the copies."""
        cache = ["ccache"] if shutil.which("ccache") else []
        target = folder / self.name
        run = subprocess.run(
            [*cache, COMPILER, *FLAGS, *self.flags, "-MMD", "-MF", str(target.with_suffix(".d")),
             "-c", self.source, "-o", str(target)],
            cwd=scratch, capture_output=True, text=True,
            env={**os.environ, "CCACHE_BASEDIR": str(scratch), "CCACHE_NOHASHDIR": "1"})
        return None if run.returncode == 0 else f"{self.source} does not compile:\n{run.stderr}"


def objects_of(unit):
    """The objects of a unit's test program; as in stpn/kernels/CMakeLists.txt."""
    kernels = ROOT / "stpn/kernels"
    shared = [path for path in kernels.glob("cpu/*.cc") if not path.name.endswith("_test.cc")]
    own = [path for path in kernels.glob(f"{unit}/**/*.cc")
           if path.parent.name != "cuda" or path.name == "absent.cc"]
    paths = sorted(shared) + sorted(own)
    objects = [Object(source) for source in BASE]
    for source in (path.relative_to(ROOT).as_posix() for path in paths):
        if source == SCRATCH_POOL:
            objects.append(Object(source, __SANITIZE_ADDRESS__="1"))
            continue
        text = (ROOT / source).read_text()
        types = ["float", "double"] if "STPN_SHARD_TYPE" in text else [None]
        layouts = LAYOUTS if "STPN_SHARD_LAYOUT" in text else {None: None}
        for kind in types:
            for layout, folder in layouts.items():
                macros = {"STPN_SHARD_TYPE": kind, "STPN_SHARD_LAYOUT": layout}
                if layout:
                    macros["STPN_SHARD_PASSES"] = f'"stpn/kernels/{unit}/{folder}cpu_shard-inl.h"'
                objects.append(Object(source, **{k: v for k, v in macros.items() if v}))
    return objects


def link(objects, program):
    """The first of two copies of an inline function counts, so changed objects come first."""
    run = subprocess.run([COMPILER, *map(str, objects), *LIBRARIES, "-o", str(program)],
                         capture_output=True, text=True)
    if run.returncode != 0:
        raise ValueError(f"{program} does not link:\n{run.stderr}")


def failed_test(program):
    """The first test that fails, crashes or hangs; None if all pass."""
    process = subprocess.Popen([program, "--gtest_fail_fast", "--gtest_brief=0"], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        out, _ = process.communicate(timeout=TEST_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        out, _ = process.communicate()
    if process.returncode == 0:
        return None
    started = re.findall(r"^\[ RUN      \] (\S+)", out, re.MULTILINE)
    failed = re.findall(r"^\[  FAILED  \] (\S+?),? ", out, re.MULTILINE)
    if failed:
        return failed[0]
    how = "crashes" if process.returncode != -9 else "hangs"
    return f"{started[-1] if started else 'the program'} {how}"


def mutated(fault):
    """The changed text of the fault's file; raises ValueError if the fault does not fit."""
    path = ROOT / fault.file
    text = path.read_text() if path.is_file() else ""
    if text.count(fault.old) != 1:
        raise ValueError(f"{fault.file} has the piece of code {text.count(fault.old)} times, not "
                         f"once: update the fault \"{fault.name}\" in tests/mutations/faults.py\n"
                         f"{fault.old}")
    return text.replace(fault.old, fault.new)


def try_fault(built, fault):
    """Builds and tests a copy with the fault: the test that caught it, or None."""
    with tempfile.TemporaryDirectory(prefix="stpn_fault_") as holder:
        scratch = pathlib.Path(holder)
        shutil.copytree(built / "stpn", scratch / "stpn")
        (scratch / fault.file).write_text(mutated(fault))
        changed, same = [], []
        for one in objects_of(fault.unit):
            if one.depends_on(built, fault.file) and re.search(fault.objects, one.name):
                message = one.compile(scratch, scratch)
                if message:
                    raise ValueError(f"the fault \"{fault.name}\": {message}")
                changed.append(scratch / one.name)
            else:
                same.append(built / one.name)
        if not changed:
            raise ValueError(f"no object of {fault.unit} includes {fault.file}: update the fault "
                             f"\"{fault.name}\"")
        link(changed + same, scratch / "tests")
        return failed_test(scratch / "tests")


def build(built, units, jobs):
    """The tests of the unchanged kernels, which must pass."""
    for folder in ("stpn/base", "stpn/kernels"):
        shutil.copytree(ROOT / folder, built / folder)
    objects = {one.name: one for unit in units for one in objects_of(unit)}
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for message in pool.map(lambda one: one.compile(built, built), objects.values()):
            if message:
                sys.exit(message)

        def test(unit):
            program = built / f"{unit}_tests"
            link([built / one.name for one in objects_of(unit)], program)
            return failed_test(program)

        for unit, failed in zip(units, pool.map(test, units)):
            if failed:
                sys.exit(f"without a fault {unit}'s tests must pass: {failed}")


def check(faults):
    """Exit code 1 if a fault does not fit its source."""
    errors = 0
    for fault in faults:
        print(f"{fault.unit}: {fault.name}")
        try:
            mutated(fault)
        except ValueError as error:
            print(f"    ERROR   {error}")
            errors += 1
    return 1 if errors else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--only", default="", metavar="REGEX", help="faults whose name has it")
    parser.add_argument("--check", action="store_true",
                        help="only list the faults and check that each fits its source")
    options = parser.parse_args()
    faults = [fault for fault in FAULTS if re.search(options.only, f"{fault.unit}: {fault.name}")]
    if not faults:
        sys.exit(f"no fault has {options.only} in its name")
    if options.check:
        return check(faults)
    begin = time.monotonic()
    missed = 0
    with tempfile.TemporaryDirectory(prefix="stpn_mutations_") as holder:
        built = pathlib.Path(holder)
        build(built, sorted({fault.unit for fault in faults}), options.jobs)
        print(f"without a fault all tests pass ({time.monotonic() - begin:.0f} s)", flush=True)
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            tried = {pool.submit(try_fault, built, fault): fault for fault in faults}
            for done in concurrent.futures.as_completed(tried):
                fault = tried[done]
                try:
                    caught = done.result()
                except ValueError as error:
                    caught, how = None, f"ERROR   {error}"
                else:
                    how = f"caught  by {caught}" if caught else "MISSED"
                missed += not caught
                print(f"{fault.unit}: {fault.name}\n    {how}", flush=True)
    print(f"{len(faults) - missed} of {len(faults)} faults caught in "
          f"{time.monotonic() - begin:.0f} s")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
