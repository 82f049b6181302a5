"""Checkpoints of the program load in Python and back; those of the published code load."""

import json
import os
import re
import subprocess
import tempfile
import unittest
from pathlib import Path

import stpn
import torch
from stpn.checkpoints import CheckpointError, load_published, load_unit, load_weights, save_unit, unit_of
from stpn.films import Stpn
from stpn.signature import FORMERLY

PROGRAM = os.environ["STPN_PROGRAM"]
CHECKOUT = Path(__file__).resolve().parents[2]
GOLDEN = CHECKOUT / "tests/golden"


def train(folder, unit, *settings):
    """A run of a few sequences, whose weights are next to those it started from."""
    text = (CHECKOUT / "experiments/retrieval/stpn.toml").read_text()
    text = re.sub(r"\[unit\].*?\[train\]", f"[unit]\n{unit}\n\n[train]", text, flags=re.DOTALL)
    experiment = Path(folder) / "small.toml"
    experiment.write_text(text)
    command = [PROGRAM, "train", experiment, "--out", f"{folder}/run", "--quiet", "--threads", "1"]
    for setting in ("train.epochs=1", "task.training=256", "task.validation=64", "task.test=256", *settings):
        command += ["--set", setting]
    subprocess.run(command, check=True, capture_output=True)
    return Path(folder) / "run"


def accuracy_of(run):
    out = subprocess.run([PROGRAM, "eval", run, "--json"], check=True, capture_output=True, text=True)
    return json.loads(out.stdout)["metrics"]


class ProgramTest(unittest.TestCase):
    def test_a_run_loads_and_its_weights_go_back(self):
        with tempfile.TemporaryDirectory() as folder:
            run = train(folder, 'name = "stpn_recurrent"\nhidden_size = 11\nnorm = "post"\nclamp = 1.0')
            unit = load_unit(run)
            self.assertEqual(repr(unit), "STPN(37, 11, norm='post', clamp=1.0)")
            weights = load_weights(run)
            self.assertEqual(set(weights), {"unit.weight", "unit.bias", "unit.weight_lambda",
                                            "unit.weight_gamma", "head.weight", "head.bias"})
            self.assertTrue(torch.equal(unit.weight_l0, weights["unit.weight"]))
            before = accuracy_of(run)
            best = run / "checkpoint/best.safetensors"
            content = best.read_bytes()
            save_unit(unit, best)
            self.assertEqual(accuracy_of(run), before)
            with torch.no_grad():
                unit.weight_l0.zero_()
            save_unit(unit, best)
            self.assertNotEqual(accuracy_of(run)["energy_per_step"], before["energy_per_step"])
            self.assertEqual(len(best.read_bytes()), len(content))
            self.assertFalse(load_unit(best).weight_l0.any())
            with self.assertRaisesRegex(CheckpointError, "has no unit.weight of shape"):
                save_unit(stpn.STPN(37, 12), best)
            for length in (0, 7, 50, len(content) - 1):
                best.write_bytes(content[:length])
                with self.assertRaisesRegex(CheckpointError, "is no whole safetensors file"):
                    load_unit(best)

    def test_every_unit_loads(self):
        for name, kind in (("fast_weights", stpn.FastWeights), ("backpropamine", stpn.Backpropamine),
                           ("stpn_feedforward", stpn.STPNFeedforward)):
            with self.subTest(name), tempfile.TemporaryDirectory() as folder:
                unit = load_unit(train(folder, f'name = "{name}"\nhidden_size = 5'))
                self.assertIs(type(unit), kind)
                self.assertEqual((unit.input_size, unit.hidden_size), (37, 5))
        with self.subTest("hebbff"), tempfile.TemporaryDirectory() as folder:
            unit = load_unit(train(folder, 'name = "stpn_feedforward"\nhidden_size = 5\nnorm = "none"\n'
                                           'activation = "sigmoid"\nrates = "scalar"\n'
                                           'parametrisation = "hebbff"'))
            self.assertIsInstance(unit, stpn.HebbFF)
        with tempfile.TemporaryDirectory() as folder:
            run = train(folder, 'name = "lstm"')
            with self.assertRaisesRegex(CheckpointError, "its unit is lstm"):
                load_unit(run)


class TableTest(unittest.TestCase):
    """Units of tables as earlier versions wrote them, and what a film runs of one."""

    TABLE = {"name": "stpn_recurrent", "hidden_size": 4, "initialisation": "paper"}

    def tensors(self, unit):
        return {f"unit.{name.removesuffix('_l0')}": value for name, value in unit.state_dict().items()}

    def test_old_names_of_options_are_known(self):
        for option, values in FORMERLY.items():
            for old, new in values.items():
                unit = stpn.STPN(3, 4, plastic_bias=True, **{option: new})
                made = unit_of(self.TABLE | {"plastic_bias": True, option: old}, self.tensors(unit))
                self.assertEqual(repr(made), repr(unit))
                # The program names the same new one.
                ended = subprocess.run([PROGRAM, "train", CHECKOUT / "experiments/retrieval/stpn.toml", "--out",
                                        "/nowhere", "--set", f"unit.{option}={old}"], capture_output=True, text=True)
                self.assertIn(f'now called "{new}"', ended.stderr)

    def test_a_film_runs_the_unit_of_every_option(self):
        for rates in ("synapse", "presynaptic", "scalar"):
            for connections, width in (("all", 7), ("input", 3), ("recurrent", 4)):
                torch.manual_seed(1)
                options = {"rates": rates, "connections": connections, "plastic_bias": True}
                unit, x = stpn.STPN(3, 4, **options), torch.randn(5, 1, 3)
                tensors = self.tensors(unit) | {"head.weight": torch.eye(4), "head.bias": torch.zeros(4)}
                film = Stpn(self.TABLE | options, {name: tensor.numpy() for name, tensor in tensors.items()})
                self.assertEqual(film.fast_weights.shape, (4, width))
                for t in range(5):
                    output, energy = film.step(x[t, 0].numpy())
                with torch.no_grad():
                    expected, state, spent = unit(x, energy=True)
                torch.testing.assert_close(torch.from_numpy(output), expected[-1, 0])
                torch.testing.assert_close(torch.from_numpy(energy), spent[0, -1, 0])
                torch.testing.assert_close(torch.from_numpy(film.fast_weights), state.F[0][0])


class PublishedTest(unittest.TestCase):
    """Golden vectors have the names of the published code, and say what its units compute."""

    FILES = [("stpnr_norm_pre_matrix", stpn.STPN, {}),
             ("stpnr_norm_post_clamp1", stpn.STPN, {"norm": "post", "clamp": 1.0}),
             ("fast_weights_s1_ln", stpn.FastWeights, {}),
             ("backpropamine_modplast_addpw3", stpn.Backpropamine, {}),
             ("backpropamine_modul_addpw3", stpn.Backpropamine, {"neuromodulation": "modul"}),
             ("backpropamine_plastic_addpw3", stpn.Backpropamine, {"neuromodulation": "plastic"}),
             ("hebbff", stpn.HebbFF, {})]
    # The golden vectors' own names of the published ones.
    RENAMED = {"lambda_logit": "_weight_lambda", "log_abs_gamma": "_weight_gamma"}

    def test_units_compute_what_the_published_code_does(self):
        for name, kind, options in self.FILES:
            with self.subTest(name):
                golden = json.loads((GOLDEN / f"{name}.json").read_text())

                def tensor(entry):
                    return torch.tensor(entry["data"], dtype=torch.float64).reshape(entry["shape"])

                config = golden["config"]
                unit = kind(config["input_size"], config["hidden_size"], dtype=torch.float64, **options)
                published = {f"rnn.{self.RENAMED.get(key, key)}": tensor(entry)
                             for key, entry in golden["params"].items()}
                load_published(unit, published, prefix="rnn.")
                state = unit.initial_state(golden["x"]["shape"][1])
                fields = [[tensor(entry)] if key != "h" else tensor(entry)[None] for key, entry in
                          golden["initial_state"].items()]
                if len(fields) == len([field for field in state if field is not None]):
                    state = type(state)(*[tuple(field) if isinstance(field, list) else field
                                          for field in fields])
                output = unit(tensor(golden["x"]), state)[0]
                torch.testing.assert_close(output, tensor(golden["output"]))

    def test_a_missing_parameter_is_named(self):
        unit = stpn.STPN(2, 3)
        with self.assertRaisesRegex(CheckpointError, "there is no weight of 15 values"):
            load_published(unit, {"bias": torch.zeros(3)})


if __name__ == "__main__":
    unittest.main()
