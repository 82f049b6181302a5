"""The units' CUDA kernels against golden vectors and the reference.

With libstpn_cuda.so, which STPN_CUDA_LIBRARY names, on a GPU: benchmarks/gpu_check.sh. With
libstpn_cuda_emulated.so the same kernels run on the CPU, a thread after the other. Needs torch, and of the
project only that library.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks/gpu"))
import stpn_cuda  # noqa: E402

LIBRARY = stpn_cuda.Library(os.environ.get("STPN_CUDA_LIBRARY",
                                           ROOT / "build/lib/libstpn_cuda_emulated.so"))
DOUBLE, FLOAT = torch.float64, torch.float32
# Largest error relative to the largest value of an array.
TOLERANCE = {DOUBLE: 1e-9, FLOAT: 1e-5}
# Golden vectors in float: a loss amplifies rounding through six steps of large weights.
GOLDEN_TOLERANCE = {DOUBLE: 1e-9, FLOAT: 1e-4}
# The signature's names of tensors by those in golden vectors, where they differ.
NAMES = {
    "layer_norm.weight": "layer_norm_weight", "layer_norm.bias": "layer_norm_bias",
    "i2h.weight": "weight_ih", "i2h.bias": "bias", "w": "weight_hh",
    "h2DA.weight": "modulator_weight", "h2DA.bias": "modulator_bias", "eta": "rate", "etaet": "rate",
    "hebb": "P", "plastic": "P", "eligibility": "E",
}


def setUpModule():
    if not LIBRARY.emulated and not torch.cuda.is_available():
        raise unittest.SkipTest("skipped: no GPU")


def array(entry, dtype):
    return torch.tensor(entry["data"], dtype=dtype).reshape(entry["shape"]).to(LIBRARY.device)


def golden_options(config):
    if config["unit"] == "Backpropamine":
        return {"unit": "backpropamine", "neuromodulation": config["variant"],
                "addition": ["decaying", "additive", "soft_clamp", "clamp"][config["addpw"]],
                "modulator": config["modulation"]}
    if config["unit"] == "FastWeights":
        return {"unit": "fast_weights"} | {name: config[name]
                                           for name in stpn_cuda.DEFAULTS["fast_weights"]}
    norm = {None: "none", "pre": "pre", "post": "post"}[config.get("fast_weight_norm")]
    if config.get("weight_norm") == "G" and norm == "none":
        norm = "preactivation"
    return {
        "norm": norm,
        "clamp": config.get("clamp"),
        "activation": config["activation"],
        "rule": config.get("rule"),
        "decay": config.get("decay"),
        "connections": {"hidden": "recurrent"}.get(config.get("connections"),
                                                   config.get("connections")),
        "presynaptic": config.get("hebbian_presynaptic_hidden"),
        "recurrent": config["unit"] == "STPNr",
    }


def energy_of_fixed_weights(unit, tensors, output):
    """What the op adds to the kernel's."""
    energy = torch.zeros_like(output)
    x = tensors["x"]
    added = {"stpn": ("update_weight", "write_weight", "decay_weight"), "fast_weights": ("weight",),
             "backpropamine": ("weight_ih",)}
    for name in added[unit]:
        if name in tensors:
            z = x if name not in ("update_weight", "weight") else torch.cat(
                [x, torch.cat([tensors["h"][None], output[:-1]])], 2)
            energy = energy + z.square() @ tensors[name].abs().T
    return energy


class CheckScriptTest(unittest.TestCase):
    def test_a_python_without_torch_is_named_in_a_line(self):
        with tempfile.TemporaryDirectory() as folder:
            script, python = Path(folder, "benchmarks/gpu_check.sh"), Path(folder, ".venv/bin/python")
            for path in (script, python):
                path.parent.mkdir(parents=True)
            shutil.copy(ROOT / "benchmarks/gpu_check.sh", script)
            python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')  # -S: no packages
            python.chmod(0o755)
            environment = {key: value for key, value in os.environ.items() if key != "PYTHON"}
            for given, named in (({}, ".venv/bin/python"), ({"PYTHON": str(python)}, str(python))):
                ended = subprocess.run(["bash", script], env=environment | given, capture_output=True, text=True)
                self.assertEqual((ended.returncode, ended.stdout), (2, ""))
                self.assertEqual(ended.stderr,
                                 f"gpu_check: {named} cannot import torch: set PYTHON to a Python that can\n")


class GoldenTest(unittest.TestCase):
    def check(self, path, dtype):
        golden = json.loads(path.read_text())
        leaves = {"x": array(golden["x"], dtype)}
        leaves |= {f"initial.{name}": array(entry, dtype)
                   for name, entry in golden["initial_state"].items()}
        leaves |= {f"param.{name}": array(entry, dtype)
                   for name, entry in golden["params"].items() if f"param.{name}" in golden["grad"]}
        for leaf in leaves.values():
            leaf.requires_grad_()
        tensors = {key.split(".", 1)[-1]: leaf for key, leaf in leaves.items()}
        tensors = {NAMES.get(name, name): leaf for name, leaf in tensors.items()}
        if golden["config"]["unit"] == "HebbFF":
            tensors["weight_lambda"] = tensors.pop("lambda_logit").sigmoid().reshape(1)
            tensors["weight_gamma"] = -tensors.pop("log_abs_gamma").exp().reshape(1)
        options = golden_options(golden["config"])
        unit = options.get("unit", "stpn")
        output, *states = stpn_cuda.run(LIBRARY, tensors, **options)
        finals = {"h": output[-1]} | dict(zip(stpn_cuda.STATES[unit], states))
        loss = (output * array(golden["cotangent_output"], dtype)).sum()
        for name, entry in golden["cotangent_final_state"].items():
            loss = loss + (finals[NAMES.get(name, name)] * array(entry, dtype)).sum()
        loss.backward()
        found = {"output": output, "loss": loss} | {f"final {name}": finals[NAMES.get(name, name)]
                                                    for name in golden["final_state"]}
        expected = {"output": array(golden["output"], dtype),
                    "loss": torch.tensor(golden["loss"], dtype=DOUBLE)}
        expected |= {f"final {name}": array(entry, dtype)
                     for name, entry in golden["final_state"].items()}
        if "energy" in golden:
            energy = stpn_cuda.Call(LIBRARY, stpn_cuda.KERNELS,
                                    {name: value.detach() for name, value in tensors.items()},
                                    energy=True, **options).forward(save=False).energy
            found["energy"] = energy + energy_of_fixed_weights(unit, tensors, output)
            expected["energy"] = array(golden["energy"], dtype)
        for key, leaf in leaves.items():
            found[f"gradient of {key}"] = leaf.grad
            expected[f"gradient of {key}"] = array(golden["grad"][key], dtype)
        self.assertEqual(set(golden["grad"]), set(leaves))
        for name, value in found.items():
            expect_close(self, value, expected[name], GOLDEN_TOLERANCE[dtype], name)

    def test_matches_every_golden_vector(self):
        paths = [*sorted((ROOT / "tests/golden").glob("stpn*.json")), ROOT / "tests/golden/hebbff.json",
                 *sorted((ROOT / "tests/golden").glob("fast_weights*.json")),
                 *sorted((ROOT / "tests/golden").glob("backpropamine*.json"))]
        self.assertGreater(len(paths), 29)
        for path in paths:
            for dtype in (DOUBLE, FLOAT):
                with self.subTest(path.name, dtype=dtype):
                    self.check(path, dtype)


def expect_close(test, got, want, tolerance, what):
    got, want = got.detach().cpu().double(), want.detach().cpu().double()
    test.assertEqual(got.shape, want.shape, what)
    if want.numel() > 0:
        error = (got - want).abs().max().item() / max(want.abs().max().item(), 1e-30)
        test.assertLessEqual(error, tolerance, what)  # false for NaN


def random_call(steps, batch, inputs, hidden, options, seed, layer_norm=False, plastic_bias=False,
                rates="synapse", gates=()):
    """Tensors in double on the CPU, reset marks, and gradients of all results."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape, low=-1.0, high=1.0):
        return torch.empty(shape, dtype=DOUBLE).uniform_(low, high, generator=generator)

    fan_in = inputs + (hidden if options.get("recurrent", True) else 0)
    connections = options.get("connections", "all") if options.get("recurrent", True) else "all"
    plastic = {"all": fan_in, "input": inputs, "recurrent": hidden}[connections]
    shape = {"synapse": (hidden, plastic), "presynaptic": (plastic,), "scalar": (1,)}[rates]
    scale = fan_in**-0.5
    tensors = {
        "x": uniform(steps, batch, inputs),
        "h": uniform(batch, hidden),
        "F": uniform(batch, hidden, plastic) * 0.3 * scale,
        "weight": uniform(hidden, fan_in) * scale,
        "bias": uniform(hidden) * 0.5,
        "weight_lambda": uniform(*shape, low=0.2),
        "weight_gamma": uniform(*shape) * 0.5 * scale,
        "measured": uniform(fan_in, low=0),
    }
    if not options.get("recurrent", True):
        del tensors["h"]
    if layer_norm:
        tensors |= {"layer_norm_weight": uniform(hidden, low=0.5, high=1.5),
                    "layer_norm_bias": uniform(hidden)}
    if plastic_bias:
        tensors |= {"beta": uniform(batch, hidden) * 0.3, "bias_lambda": uniform(hidden, low=0.2),
                    "bias_gamma": uniform(hidden) * 0.5}
    for gate in gates:
        columns = fan_in if gate == "update" else inputs
        tensors[f"{gate}_weight"] = uniform(hidden, columns) * scale
    if "update" in gates:
        tensors["update_bias"] = uniform(hidden)
    reset = torch.rand(steps, batch, generator=generator) < 0.15
    gradients = {"output": uniform(steps, batch, hidden), "energy": uniform(steps, batch, hidden) * 0.1}
    gradients |= {name: uniform(*tensors[name].shape) for name in stpn_cuda.STATES["stpn"] if name in tensors}
    return tensors, reset, gradients


def results_of(backend, dtype, tensors, reset, gradients, options):
    device = torch.device("cpu") if backend == stpn_cuda.REFERENCE else LIBRARY.device

    def moved(values):
        return {name: value.to(device, dtype) for name, value in values.items()}

    given = moved(gradients)
    call = stpn_cuda.Call(LIBRARY, backend, moved(tensors), reset=reset.to(device), energy=True,
                          **options).forward()
    found = call.backward(given["output"], given, given["energy"])
    results = {"output": call.output, "energy": call.energy}
    results |= {f"final {name}": value for name, value in call.finals.items()}
    return results | {f"gradient of {name}": value for name, value in found.items()}


# Sizes with remainders of every kind. The last two of LARGE are streamed and, on a GPU that has them, by
# a cluster.
SMALL = [(5, 2, 4, 3), (9, 3, 37, 11), (7, 2, 17, 20), (3, 1, 100, 27), (2, 1, 200, 9)]
LARGE = [(40, 6, 17, 55), (9, 128, 37, 11), (33, 1, 100, 27), (9, 3, 2592, 64), (6, 2, 700, 130)]


class RandomShapesTest(unittest.TestCase):
    def check(self, size, dtypes, seed, **variant):
        options = {key: variant.pop(key) for key in list(variant)
                   if key in stpn_cuda.DEFAULTS["stpn"] or key == "recurrent"}
        call = random_call(*size, options, seed, **variant)
        with self.subTest(size=size, **options, **variant):
            if FLOAT in dtypes and size[2] * size[3] > 50_000:
                # The gradient of |G| has the sign of G, and of so many some are smaller than rounding.
                call[2]["energy"].zero_()
            expected = results_of(stpn_cuda.REFERENCE, DOUBLE, *call, options)
            for dtype in dtypes:
                found = results_of(stpn_cuda.KERNELS, dtype, *call, options)
                for name, value in found.items():
                    expect_close(self, value, expected[name], TOLERANCE[dtype], f"{name}, {dtype}")

    def test_variants_match_the_reference(self):
        draw = random.Random(3)
        for norm in ("none", "preactivation", "pre", "post"):
            for rule in ("hebb", "oja"):
                for presynaptic in ("previous", "current"):
                    for connections in ("all", "input", "recurrent"):
                        self.check(draw.choice(SMALL), [DOUBLE], draw.randrange(1000), norm=norm,
                                   rule=rule, presynaptic=presynaptic, connections=connections,
                                   decay=draw.choice(["before_update", "after_update"]),
                                   clamp=draw.choice([None, 0.1]), recurrent=draw.random() < 0.8,
                                   layer_norm=draw.random() < 0.3, plastic_bias=draw.random() < 0.3,
                                   rates=draw.choice(["synapse", "presynaptic", "scalar"]))

    def test_the_published_variants_and_gates_match_the_reference_in_float_too(self):
        for size in SMALL + ([] if LIBRARY.emulated else LARGE):
            for options in ({"norm": "pre"}, {"norm": "post", "clamp": 1.0},
                            {"norm": "preactivation", "recurrent": False},
                            {"gates": ("update", "write", "decay")},
                            {"gates": ("update", "write"), "rule": "delta"},
                            {"gates": ("update",), "rule": "oja", "layer_norm": True}):
                self.check(size, [DOUBLE, FLOAT], 5, **options)

    def test_repeats_give_the_same_bits(self):
        for size in SMALL[1:3] + ([] if LIBRARY.emulated else LARGE):
            for options in ({"norm": "pre"}, {"norm": "post", "clamp": 1.0}, {"rule": "oja"},
                            {"rule": "delta"}):
                call = random_call(*size, options, 7)
                first = results_of(stpn_cuda.KERNELS, FLOAT, *call, options)
                for _ in range(2 if LIBRARY.emulated else 10):
                    again = results_of(stpn_cuda.KERNELS, FLOAT, *call, options)
                    for name, value in first.items():
                        self.assertTrue(torch.equal(value, again[name]), f"{size} {options} {name}")

    def test_small_calls_under_a_sanitizer(self):
        """Each kind of kernel once: what compute-sanitizer has time for."""
        for size in SMALL[:3] + SMALL[4:]:
            self.check(size, [FLOAT], 9, norm="post", clamp=1.0)
            self.check(size, [DOUBLE], 9, rule="oja", layer_norm=True, plastic_bias=True,
                       presynaptic="current")
            self.check(size, [FLOAT], 9, rule="delta", gates=("update", "write", "decay"))
        self.check((3, 1, 700, 130), [FLOAT], 9, norm="pre")  # streamed


def random_fast_weights_call(steps, batch, inputs, hidden, layer_norm, seed):
    """As random_call."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape, low=-1.0, high=1.0):
        return torch.empty(shape, dtype=DOUBLE).uniform_(low, high, generator=generator)

    tensors = {
        "x": uniform(steps, batch, inputs),
        "h": uniform(batch, hidden),
        "A": uniform(batch, hidden, hidden) * hidden**-0.5,
        "weight": uniform(hidden, inputs + hidden) * (inputs + hidden)**-0.5,
        "bias": uniform(hidden) * 0.5,
    }
    if layer_norm:
        tensors |= {"layer_norm_weight": uniform(hidden, low=0.5, high=1.5),
                    "layer_norm_bias": uniform(hidden)}
    reset = torch.rand(steps, batch, generator=generator) < 0.15
    gradients = {"output": uniform(steps, batch, hidden), "energy": uniform(steps, batch, hidden) * 0.1,
                 "A": uniform(batch, hidden, hidden) * 0.1}
    return tensors, reset, gradients


class FastWeightsRandomShapesTest(unittest.TestCase):
    # The last are streamed, backward only or forward too.
    LARGE = [(40, 6, 37, 20), (9, 128, 37, 11), (33, 1, 100, 27), (6, 2, 700, 130), (5, 2, 20, 400)]

    def check(self, size, dtypes, layer_norm, **options):
        call = random_fast_weights_call(*size, layer_norm, 5)
        options["unit"] = "fast_weights"
        # A layer norm of few neurons amplifies rounding: in float the reference is off by 4e-5 itself.
        tolerance = GOLDEN_TOLERANCE if layer_norm else TOLERANCE
        with self.subTest(size=size, layer_norm=layer_norm, **options):
            expected = results_of(stpn_cuda.REFERENCE, DOUBLE, *call, options)
            for dtype in dtypes:
                found = results_of(stpn_cuda.KERNELS, dtype, *call, options)
                self.assertEqual(set(found), set(expected))
                for name, value in found.items():
                    expect_close(self, value, expected[name], tolerance[dtype], f"{name}, {dtype}")

    def test_variants_match_the_reference(self):
        for size in SMALL + ([] if LIBRARY.emulated else self.LARGE):
            rate = 1 / size[3]
            self.check(size, [DOUBLE, FLOAT], layer_norm=True, rate=rate)
            self.check(size, [DOUBLE, FLOAT], layer_norm=True, rate=-rate, inner_steps=3)
            self.check(size, [DOUBLE, FLOAT], layer_norm=False, rate=rate, decay=0.7)
            self.check(size, [DOUBLE, FLOAT], layer_norm=False, rate=rate, inner_steps=2)

    def test_repeats_give_the_same_bits(self):
        for size in SMALL[1:3] + ([] if LIBRARY.emulated else self.LARGE):
            call = random_fast_weights_call(*size, True, 7)
            options = {"unit": "fast_weights", "inner_steps": 2}
            first = results_of(stpn_cuda.KERNELS, FLOAT, *call, options)
            for _ in range(2 if LIBRARY.emulated else 10):
                again = results_of(stpn_cuda.KERNELS, FLOAT, *call, options)
                for name, value in first.items():
                    self.assertTrue(torch.equal(value, again[name]), f"{size} {name}")

    def test_small_calls_under_a_sanitizer(self):
        for size in SMALL[:3]:
            self.check(size, [FLOAT], layer_norm=True, rate=0.1, inner_steps=2)
            self.check(size, [DOUBLE], layer_norm=False, rate=0.1)
        self.check((2, 1, 20, 400), [FLOAT], layer_norm=True, rate=0.1)  # streamed


def random_backpropamine_call(steps, batch, inputs, hidden, options, seed, tame=False):
    """As random_call. `tame`: P stays within its bound and the network is not chaotic: both would
    amplify the rounding of float."""
    size = 0.25 if tame else 1
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape, low=-1.0, high=1.0):
        return torch.empty(shape, dtype=DOUBLE).uniform_(low, high, generator=generator)

    tensors = {
        "x": uniform(steps, batch, inputs),
        "h": uniform(batch, hidden),
        "P": uniform(batch, hidden, hidden) * 0.9 * size,
        "weight_ih": uniform(hidden, inputs) * size * inputs**-0.5,
        "bias": uniform(hidden) * 0.5 * size,
        "weight_hh": uniform(hidden, hidden) * hidden**-0.5,
        "alpha": uniform(hidden, hidden) * hidden**-0.5,
    }
    if options["neuromodulation"] != "plastic":
        tensors |= {"modulator_weight": uniform(hidden) * hidden**-0.5, "modulator_bias": uniform(1)}
    if options["neuromodulation"] != "modplast":
        tensors["rate"] = uniform(1, low=0.2, high=0.8)
    if options["neuromodulation"] == "modul":
        tensors["E"] = uniform(batch, hidden, hidden) * 0.9 * size
    reset = torch.rand(steps, batch, generator=generator) < 0.15
    gradients = {"output": uniform(steps, batch, hidden), "energy": uniform(steps, batch, hidden) * 0.1}
    gradients |= {name: uniform(batch, hidden, hidden) for name in ("P", "E") if name in tensors}
    return tensors, reset, gradients


class BackpropamineRandomShapesTest(unittest.TestCase):
    SMALL = [*SMALL, (3, 2, 5, 140)]  # the last is streamed by the emulated machine
    LARGE = [*LARGE, (9, 3, 17, 200)]
    # Sums over all synapses, which cancel: in float the reference is off by 3e-5 itself.
    CANCELLING = [f"gradient of {name}" for name in ("modulator_weight", "modulator_bias", "rate")]

    def check(self, size, dtypes, seed, **options):
        options["unit"] = "backpropamine"
        call = random_backpropamine_call(*size, options, seed, tame=FLOAT in dtypes)
        with self.subTest(size=size, **options):
            expected = results_of(stpn_cuda.REFERENCE, DOUBLE, *call, options)
            for dtype in dtypes:
                found = results_of(stpn_cuda.KERNELS, dtype, *call, options)
                self.assertEqual(set(found), set(expected))
                for name, value in found.items():
                    tolerance = GOLDEN_TOLERANCE if name in self.CANCELLING else TOLERANCE
                    expect_close(self, value, expected[name], tolerance[dtype], f"{name}, {dtype}")

    def test_every_variant_matches_the_reference(self):
        draw = random.Random(3)
        for neuromodulation in stpn_cuda.CHOICES["neuromodulation"]:
            for addition in stpn_cuda.CHOICES["addition"]:
                for modulator in stpn_cuda.CHOICES["modulator"]:
                    self.check(draw.choice(self.SMALL[:-1]), [DOUBLE], draw.randrange(1000),
                               neuromodulation=neuromodulation, addition=addition,
                               modulator=modulator)

    def test_every_size_matches_the_reference_in_float_too(self):
        for size in self.SMALL + ([] if LIBRARY.emulated else self.LARGE):
            for neuromodulation in stpn_cuda.CHOICES["neuromodulation"]:
                self.check(size, [DOUBLE, FLOAT], 5, neuromodulation=neuromodulation)

    def test_repeats_give_the_same_bits(self):
        for size in self.SMALL[1:3] + ([] if LIBRARY.emulated else self.LARGE):
            for neuromodulation in stpn_cuda.CHOICES["neuromodulation"]:
                options = {"unit": "backpropamine", "neuromodulation": neuromodulation}
                call = random_backpropamine_call(*size, options, 7)
                first = results_of(stpn_cuda.KERNELS, FLOAT, *call, options)
                for _ in range(2 if LIBRARY.emulated else 10):
                    again = results_of(stpn_cuda.KERNELS, FLOAT, *call, options)
                    for name, value in first.items():
                        self.assertTrue(torch.equal(value, again[name]), f"{size} {options} {name}")

    def test_small_calls_under_a_sanitizer(self):
        for size in self.SMALL[:3] + self.SMALL[4:]:
            self.check(size, [FLOAT], 9, neuromodulation="modul", addition="soft_clamp")
            self.check(size, [FLOAT], 9, neuromodulation="plastic")
        self.check((2, 1, 17, 200), [FLOAT], 9, neuromodulation="modul")  # streamed


if __name__ == "__main__":
    unittest.main()
