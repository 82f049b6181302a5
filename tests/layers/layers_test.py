"""The layers of the project: which folder may include what, and how large files and folders may be.

The table LAYERS is the law; CONTRIBUTING.md says it in words. The tests read every C++ file of the
checkout, and then check that the rules can fail: each rejects an include that breaks it.
"""

import os
import pathlib
import re
import typing
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Lines of code and files that fit a reader's head.
HEADER_LINES = 300
SOURCE_LINES = 500  # a .cc file, a test, or a header of SIMD code (-inl.h)
FOLDER_FILES = 20

# Third-party libraries by the first folder of their headers.
LIBRARIES = {
    "ATen": "torch", "c10": "torch", "torch": "torch",
    "CLI": "CLI11", "Random123": "Random123", "fmt": "fmt", "gmock": "GoogleTest",
    "ale": "ALE", "mpi.h": "MPI", "gtest": "GoogleTest", "hwy": "Highway", "mujoco": "MuJoCo",
    "cooperative_groups.h": "CUDA", "cuda_runtime.h": "CUDA",
    "nlohmann": "nlohmann-json", "tbb": "TBB", "toml++": "toml++",
}
# Of the system and the compiler, besides the C++ standard library, whose headers have no suffix.
SYSTEM = {"fcntl.h", "immintrin.h", "malloc.h", "poll.h", "sched.h",
          "sanitizer/tsan_interface.h", "stddef.h", "stdint.h", "stdlib.h", "ucontext.h", "unistd.h", "xmmintrin.h"}


class Layer(typing.NamedTuple):
    """A folder, what its files may include, and why; the longest matching folder counts."""
    folder: str
    own: tuple[str, ...]  # regular expressions of our own headers, besides those of the folder
    libraries: tuple[str, ...]  # of LIBRARIES
    why: str


BASE = r"stpn/base/"
# What a kernel shows to the layers above: shapes, structs, signatures; not how it computes.
KERNELS_INTERFACE = (r"stpn/kernels/(extent|activation|closed_loop|sequence_params|signature)\.h"
                     r"|stpn/kernels/\w+/(equations|signature)\.h")
UNIT_INTERFACE = r"stpn/nn/(unit|unit_registry|initialisation)\.h"

LAYERS = (
    Layer("stpn/base", (), ("Random123", "fmt", "nlohmann-json", "toml++"),
          "base knows nothing of the project"),
    # Of the folders below kernels/, every one but cpu/ and cuda/ is a unit's, see UNIT_OF_KERNELS.
    Layer("stpn/kernels", (BASE, r"stpn/kernels/[\w-]+\.h", r"stpn/kernels/(cpu|cuda)/"),
          ("Highway", "fmt"), "kernels run without torch, and each unit without the others"),
    Layer("stpn/kernels/cpu", (BASE, r"stpn/kernels/[\w-]+\.h"), ("Highway", "fmt"),
          "what units share knows none of them"),
    Layer("stpn/kernels/cuda", (BASE, r"stpn/kernels/[\w-]+\.h"), (),
          "what units share knows none of them"),
    Layer("stpn/ops", (BASE, r"stpn/kernels/(?!.*-inl\.h)"), ("TBB", "fmt", "torch"),
          "ops call kernels; SIMD code is compiled by the kernels only"),
    Layer("stpn/nn", (BASE, r"stpn/ops/", KERNELS_INTERFACE), ("fmt", "torch"),
          "units compute through ops, and know neither tasks nor trainers"),
    Layer("stpn/nn/models", (BASE, UNIT_INTERFACE, r"stpn/ops/(undispatched/(classifier_loss|convolution)|runtime/backend|runtime/threads)\.h",
                             r"stpn/kernels/convolution/equations\.h"), ("fmt", "torch"),
          "a model holds any unit, so it knows none by name"),
    Layer("stpn/runtime", (BASE, KERNELS_INTERFACE, r"stpn/kernels/(layer_norm|cpu/plan)\.h"),
          ("fmt", "nlohmann-json", "toml++"), "the runtime works without torch and the kernels"),
    Layer("stpn/verify", (BASE, r"stpn/ops/", r"stpn/nn/"), ("fmt", "nlohmann-json", "torch"),
          "golden files check units"),
    Layer("stpn/tasks", (BASE, r"stpn/tasks/\w+\.h"), ("fmt", "nlohmann-json"),
          "a task is data and rules: no torch, no kernels, no other task"),
    Layer("stpn/processes", (BASE,), ("fmt",), "messages between processes know nothing of what is in them"),
    # A rollout is called by the kernel after every time step, through ClosedLoop.
    Layer("stpn/train", (BASE, UNIT_INTERFACE, r"stpn/nn/models/", r"stpn/ops/runtime/(backend|kernel_device|threads)\.h",
                         r"stpn/kernels/closed_loop\.h", r"stpn/tasks/\w+\.h",
                         r"stpn/processes/(group|message|memory_test_support)\.h"),
          ("fmt", "nlohmann-json", "toml++", "torch"),
          "a trainer trains any unit on any task, so it knows none by name"),
    Layer("cli", (BASE, r"stpn/train/", r"stpn/verify/", UNIT_INTERFACE, r"stpn/tasks/\w+\.h",
                  r"stpn/ops/units/signatures\.h", r"stpn/processes/"),
          ("CLI11", "fmt", "nlohmann-json", "torch"), "the program is a thin edge over train"),
    Layer("examples", (BASE, r"stpn/nn/", r"stpn/runtime/stpn_runtime\.h", r"stpn/tasks/"), ("fmt", "torch"),
          "examples show what users of the library include"),
    Layer("benchmarks", (BASE, r"stpn/tasks/", r"stpn/nn/models/"), ("Highway", "torch"),
          "benchmarks time the built program, ops, models and tasks"),
    Layer("tests/consumer", (BASE, r"stpn/nn/", KERNELS_INTERFACE), ("fmt", "torch"),
          "what users of an installed library include"),
)
UNIT_OF_KERNELS = re.compile(r"stpn/kernels/(?!cpu/|cuda/)(\w+)/")
TASK = re.compile(r"stpn/tasks/(\w+)/")
# The one file that may include a library. Others work with its header, also where it is not installed.
ONLY = {"ALE": "stpn/tasks/atari/emulator_ale.cc",
        "CUDA": "stpn/kernels/cuda/device.cuh",
        "MPI": "stpn/processes/mpi.cc",
        "MuJoCo": "stpn/tasks/mujoco/physics_mujoco.cc"}
# The tables of units and tasks have to name each of them.
REGISTRIES = {"stpn/kernels/cuda/c_api.cc": r"stpn/kernels/\w+/(equations|cuda/cuda)\.h",
              "stpn/nn/unit_registry.cc": r"stpn/nn/",
              "stpn/tasks/task_registry.cc": r"stpn/tasks/"}


def is_test(path):
    """Tests and what only tests include; these may use GoogleTest, and name units and tasks."""
    name = path.rsplit("/", 1)[-1]
    return (name.endswith(("_test.cc", "_contract.h", "test_support.h"))
            or name in ("testing.h", "random_call.h", "not_finite.h"))


def layer_of(path):
    """The layer of a file or header; None outside all layers."""
    inside = [layer for layer in LAYERS if path.startswith(layer.folder + "/")]
    return max(inside, key=lambda layer: len(layer.folder), default=None)


def library_of(header):
    """The library of a header in angle brackets: "" for the system's, None if it is unknown."""
    if header in SYSTEM or re.match(r"(sys|sanitizer)/|[a-z_]+$", header):
        return ""
    return LIBRARIES.get(header.split("/")[0])


def breach(path, include):
    """What is wrong with this include, `<...>` or `"..."`, in the file at this path, or None."""
    layer = layer_of(path)
    header = include[1:-1]
    if layer is None:
        return f"{path} is in no layer of tests/layers/layers_test.py"
    if include[0] == "<":
        library = library_of(header)
        if library is None:
            return f"{path} includes {include}, of a library that the table of layers does not name"
        if library in ONLY:
            return None if path == ONLY[library] else f"{path} includes {include}: {ONLY[library]} may"
        allowed = ("",) + layer.libraries + (("GoogleTest",) if is_test(path) else ())
        return None if library in allowed else f"{path} includes {include}: {layer.why}"
    if is_test(header) and not is_test(path):
        return f"{path} includes {include}, which is for tests only"
    for one_of_many in (UNIT_OF_KERNELS, TASK):
        mine, other = one_of_many.match(path), one_of_many.match(header)
        if mine and other and mine[1] != other[1]:
            return f"{path} includes {include} of {other[1]}: {layer.why}"
    theirs = layer_of(header)
    if theirs is not None and theirs is layer:
        # Shared files of a layer do not know what is built on them.
        named = UNIT_OF_KERNELS.match(header) or TASK.match(header)
        if not named or UNIT_OF_KERNELS.match(path) or TASK.match(path):
            return None
    own = layer.own + ((REGISTRIES[path],) if path in REGISTRIES else ())
    if any(re.match(pattern, header) for pattern in own):
        return None
    # Tests may name a unit or a task of the layers that the folder uses anyway.
    if is_test(path) and any(header.startswith(folder) and any(folder in o for o in layer.own)
                             for folder in ("stpn/nn/", "stpn/tasks/")):
        return None
    return f"{path} includes {include}: {layer.why}"


def includes_of(text):
    """All includes of a C++ file; foreach_target.h of Highway includes HWY_TARGET_INCLUDE."""
    return re.findall(r'^\s*#\s*(?:include|define\s+HWY_TARGET_INCLUDE)\s*(<[^>\n]+>|"[^"\n]+")',
                      text, re.MULTILINE)


def files_of(folder):
    """The files directly in each folder at or below one of the checkout, by folder."""
    for where, folders, names in os.walk(ROOT / folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        yield pathlib.Path(where), [name for name in sorted(names) if not name.startswith(".")]


def sources():
    """Path from the root, and text, of every C++ file of a layer."""
    for top in sorted({layer.folder.split("/")[0] for layer in LAYERS}):
        for where, names in files_of(top):
            for name in names:
                if name.endswith((".h", ".cc", ".cu", ".cuh")):
                    path = where / name
                    yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


class IncludesTest(unittest.TestCase):

    def test_every_include_keeps_to_the_layers(self):
        found = [breach(path, include) for path, text in sources() for include in includes_of(text)]
        self.assertGreater(len(found), 500, "the test has not found the sources")
        breaches = list(filter(None, found))
        self.assertFalse(breaches, "\n" + "\n".join(breaches))

    def test_our_own_headers_are_included_by_their_path_from_the_root(self):
        for path, text in sources():
            for include in includes_of(text):
                if include[0] == '"':
                    self.assertTrue((ROOT / include[1:-1]).is_file(), f"{path} includes {include}")
                else:
                    self.assertFalse(include.startswith(("<stpn/", "<cli/")),
                                     f"{path} includes {include}")


# A file, and an include that its layer forbids.
WRONG = (
    ("stpn/runtime/memory.cc", "<torch/torch.h>"),
    ("stpn/base/files.cc", "<torch/torch.h>"),
    ("stpn/base/files.cc", "<hwy/highway.h>"),
    ("stpn/base/files.cc", "<gtest/gtest.h>"),
    ("stpn/base/files.h", '"stpn/kernels/extent.h"'),
    ("stpn/base/files_test.cc", '"stpn/tasks/split.h"'),
    ("stpn/base/files.cc", '"stpn/base/testing.h"'),
    ("stpn/base/files.cc", "<boost/any.hpp>"),
    ("stpn/kernels/extent.h", "<torch/torch.h>"),
    ("stpn/kernels/extent.h", "<ATen/Parallel.h>"),
    ("stpn/kernels/extent.h", "<tbb/parallel_for.h>"),
    ("stpn/kernels/extent.h", '"stpn/kernels/stpn/equations.h"'),
    ("stpn/kernels/testing_test.cc", '"stpn/kernels/stpn/equations.h"'),
    ("stpn/kernels/stpn/ref.cc", '"stpn/ops/runtime/backend.h"'),
    ("stpn/kernels/stpn/ref.cc", '"stpn/kernels/fast_weights/equations.h"'),
    ("stpn/kernels/stpn/stpn_test.cc", '"stpn/kernels/backpropamine/equations.h"'),
    ("stpn/kernels/stpn/dispatch.cc", '"stpn/kernels/stpn/random_call.h"'),
    ("stpn/kernels/cpu/plan.h", '"stpn/kernels/stpn/equations.h"'),
    ("stpn/kernels/stpn/cuda/forward-inl.h", "<cuda_runtime.h>"),
    ("stpn/kernels/cuda/team.h", '"stpn/kernels/stpn/equations.h"'),
    ("stpn/kernels/cpu/plan.h", "<nlohmann/json.hpp>"),
    ("stpn/ops/stpn.cc", '"stpn/nn/unit.h"'),
    ("stpn/ops/stpn.cc", '"stpn/kernels/stpn/cpu_forward-inl.h"'),
    ("stpn/ops/stpn.cc", "<hwy/highway.h>"),
    ("stpn/nn/unit.h", '"stpn/kernels/cpu/plan.h"'),
    ("stpn/nn/stpn/stpn_unit.cc", '"stpn/kernels/stpn/cpu_layout.h"'),
    ("stpn/nn/unit.h", '"stpn/tasks/split.h"'),
    ("stpn/nn/unit_test.cc", '"stpn/tasks/split.h"'),
    ("stpn/nn/unit.h", '"stpn/verify/golden.h"'),
    ("stpn/nn/unit.h", "<tbb/parallel_for.h>"),
    ("stpn/nn/models/classifier.cc", '"stpn/nn/library/lstm.h"'),
    ("stpn/nn/models/classifier.cc", '"stpn/nn/stpn/stpn_recurrent.h"'),
    ("stpn/nn/models/classifier.cc", '"stpn/ops/undispatched/fixed_weights.h"'),
    ("stpn/verify/golden.cc", '"stpn/kernels/stpn/equations.h"'),
    ("stpn/verify/golden.cc", '"stpn/train/trainer.h"'),
    ("stpn/tasks/policy.cc", "<torch/torch.h>"),
    ("stpn/tasks/policy.cc", '"stpn/kernels/extent.h"'),
    ("stpn/tasks/policy.cc", '"stpn/tasks/maze/maze.h"'),
    ("stpn/tasks/maze/maze.cc", '"stpn/tasks/associative_retrieval/associative_retrieval.h"'),
    ("stpn/tasks/maze/maze_test.cc", '"stpn/nn/unit.h"'),
    ("stpn/tasks/atari/atari_task.cc", "<ale/ale_interface.hpp>"),
    ("stpn/tasks/mujoco/hopper.cc", "<mujoco/mujoco.h>"),
    ("stpn/train/algorithms/adam.cc", '"stpn/nn/stpn/stpn_recurrent.h"'),
    ("stpn/train/algorithms/adam.cc", '"stpn/nn/library/lstm.h"'),
    ("stpn/train/algorithms/adam.cc", '"stpn/nn/fast_weights.h"'),
    ("stpn/train/algorithms/adam.cc", '"stpn/tasks/maze/maze.h"'),
    ("stpn/train/algorithms/adam.cc", '"stpn/ops/stpn.h"'),
    ("stpn/train/algorithms/adam.cc", '"stpn/kernels/extent.h"'),
    ("stpn/processes/group.cc", "<mpi.h>"),
    ("stpn/processes/group.cc", "<torch/torch.h>"),
    ("stpn/processes/group.cc", '"stpn/train/trainer.h"'),
    ("stpn/train/run/run.cc", '"stpn/processes/launch.h"'),
    ("stpn/train/run/run.cc", '"stpn/verify/golden.h"'),
    ("stpn/train/run/run.cc", '"cli/say.h"'),
    ("stpn/train/run/run_test.cc", '"stpn/verify/golden.h"'),
    ("cli/train.cc", '"stpn/ops/runtime/backend.h"'),
    ("cli/train.cc", '"stpn/nn/stpn/stpn_recurrent.h"'),
    ("cli/train.cc", '"stpn/tasks/maze/maze.h"'),
    ("examples/01_unit_over_a_sequence.cc", '"stpn/kernels/stpn/equations.h"'),
    ("benchmarks/fma_rate.cc", '"stpn/train/trainer.h"'),
    ("tests/consumer/find_package/main.cc", '"stpn/ops/stpn.h"'),
    ("stpn/nowhere/a.cc", "<vector>"),
)
RIGHT = (
    ("stpn/base/files.cc", "<filesystem>"),
    ("stpn/base/files_test.cc", "<gtest/gtest.h>"),
    ("stpn/kernels/stpn/random_call.h", "<gtest/gtest.h>"),
    ("stpn/kernels/stpn/cpu_forward-inl.h", '"stpn/kernels/cpu/plan.h"'),
    ("stpn/kernels/stpn/ref.cc", '"stpn/kernels/layer_norm.h"'),
    ("stpn/kernels/cuda/device.cuh", "<cuda_runtime.h>"),
    ("stpn/kernels/stpn/cuda/device.cuh", '"stpn/kernels/cuda/team.h"'),
    ("stpn/ops/stpn.cc", '"stpn/kernels/stpn/signature.h"'),
    ("stpn/nn/fast_weights.h", '"stpn/kernels/fast_weights/equations.h"'),
    ("stpn/nn/unit_registry.cc", '"stpn/nn/library/lstm.h"'),
    ("stpn/nn/models/classifier_test.cc", '"stpn/nn/library/lstm.h"'),
    ("stpn/tasks/atari/emulator_ale.cc", "<ale/emucore/Console.hxx>"),
    ("stpn/tasks/mujoco/physics_mujoco.cc", "<mujoco/mujoco.h>"),
    ("stpn/processes/mpi.cc", "<mpi.h>"),
    ("stpn/tasks/task_registry.cc", '"stpn/tasks/maze/maze.h"'),
    ("stpn/train/algorithms/actor_critic/actor_critic_test.cc", '"stpn/tasks/maze/maze.h"'),
)


class TheRulesCanFailTest(unittest.TestCase):

    def test_every_layer_rejects_what_it_must_not_include(self):
        for path, include in WRONG:
            self.assertIsNotNone(breach(path, include), f"{path} may include {include}")
        for layer in LAYERS:
            self.assertTrue(any(layer_of(path) is layer for path, _ in WRONG), layer.folder)

    def test_what_is_allowed_passes(self):
        for path, include in RIGHT:
            self.assertIsNone(breach(path, include))

    def test_no_way_to_write_an_include_is_overlooked(self):
        self.assertEqual(
            includes_of('#include <a>\n  #  include "b.h"  // why\n// #include "not.h"\n'
                        '#define HWY_TARGET_INCLUDE "c.h"\n'), ["<a>", '"b.h"', '"c.h"'])


class BudgetsTest(unittest.TestCase):

    def test_files_are_short(self):
        for path, text in sources():
            is_header = path.endswith(".h") and not path.endswith("-inl.h")
            budget = HEADER_LINES if is_header else SOURCE_LINES
            with self.subTest(path):
                self.assertLessEqual(text.count("\n"), budget, "lines; split it by meaning")

    def test_folders_are_small(self):
        for top in ("stpn", "cli", "examples", "benchmarks"):
            for where, names in files_of(top):
                with self.subTest(where.relative_to(ROOT).as_posix()):
                    self.assertLessEqual(len(names), FOLDER_FILES, "files; split it by meaning")


if __name__ == "__main__":
    unittest.main()
