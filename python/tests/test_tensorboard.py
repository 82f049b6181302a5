"""The file of `stpn train --tensorboard`, as the three readers of TensorBoard see it."""

import importlib.util
import json
import os
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

PROGRAM = os.environ.get("STPN_PROGRAM")
EXPERIMENT = Path(__file__).resolve().parents[2] / "experiments" / "retrieval" / "lstm.toml"
EPOCHS = 8


def by_accumulator(folder):
    """{tag: [(step, value)]} of the run, and its configuration."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    events = EventAccumulator(str(folder)).Reload()
    text = events.Tensors("config")
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)]
            for tag in events.Tags()["scalars"]}, text[0].tensor_proto.string_val[0].decode()


def by_provider(provider, experiment):
    """{tag: [(step, value)]} of the one run that a data provider has."""
    from tensorboard.context import RequestContext
    found = provider.read_scalars(RequestContext(), experiment_id=experiment, plugin_name="scalars", downsample=1000)
    (tags,) = found.values()
    return {tag: [(datum.step, datum.value) for datum in data] for tag, data in tags.items()}


def by_python_reader(logs):
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(logs))
    multiplexer.Reload()
    return by_provider(MultiplexerDataProvider(multiplexer, str(logs)), "")


def by_data_server(logs):
    from tensorboard.data import server_ingester
    from tensorboard.util import grpc_util
    ingester = server_ingester.SubprocessServerDataIngester(
        server_binary=server_ingester.get_server_binary(), logdir=str(logs), reload_interval=0,
        channel_creds_type=grpc_util.ChannelCredsType.LOCAL)
    ingester.start()
    for _ in range(200):  # it loads the files while it answers
        try:
            found = by_provider(ingester.data_provider, "")
            if min(map(len, found.values())) >= EPOCHS:
                break
        except ValueError:  # has no run yet
            pass
        time.sleep(0.1)
    return found


@unittest.skipUnless(PROGRAM and importlib.util.find_spec("tensorboard"),
                     "needs the program and the package tensorboard: cmake/setup.sh test")
class TensorBoardTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)

    def command(self, run, *arguments):
        sizes = {"training": 3000, "validation": 200, "test": 100}
        words = [word for key, value in sizes.items() for word in ("--set", f"task.{key}={value}")]
        return [PROGRAM, "train", EXPERIMENT, "--set", f"train.epochs={EPOCHS}", *words, "--threads", "1", "--quiet",
                "--out", run, *arguments]

    def lines(self, run):
        return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]

    def kill_after(self, run, epochs, *arguments):
        """Trains, and kills it once so many epochs are in metrics.jsonl."""
        metrics = run / "metrics.jsonl"
        with subprocess.Popen(self.command(run, *arguments)) as process:
            while not metrics.exists() or metrics.read_text().count("\n") < epochs:
                self.assertIsNone(process.poll(), "the run ended before it could be killed")
                time.sleep(0.005)
            process.kill()

    def assert_all_readers_show(self, run):
        """Each shows one curve, with the numbers of metrics.jsonl."""
        lines = self.lines(run)
        scalars, config = by_accumulator(run)
        for name, found in (("accumulator", scalars), ("Python reader", by_python_reader(run.parent)),
                            ("data server", by_data_server(run.parent))):
            with self.subTest(reader=name):
                self.assertEqual(found.keys(), lines[0].keys())
                for tag, points in found.items():
                    self.assertEqual([step for step, _ in points], [line["epoch"] for line in lines], tag)
                    for (_, value), line in zip(points, lines):
                        self.assertAlmostEqual(value, line[tag], delta=1e-6 * max(1, abs(line[tag])), msg=tag)
        self.assertIn((run / "config.toml").read_text(), config)

    def test_one_curve_after_kills_and_resumes(self):
        run = self.folder / "killed" / "run"
        self.kill_after(run, 2, "--tensorboard")
        with open(run / "events.out.tfevents.stpn", "ab") as events:
            events.write(b"\x40\0\0\0\0\0\0\0half a record")
        self.kill_after(run, 4, "--tensorboard", "--resume")
        subprocess.run(self.command(run, "--tensorboard", "--resume"), check=True)
        self.assertEqual(len(self.lines(run)), EPOCHS)
        self.assert_all_readers_show(run)

    def test_a_run_that_began_or_ended_without_it_has_all_points_too(self):
        run = self.folder / "late" / "run"
        self.kill_after(run, 2)
        subprocess.run(self.command(run, "--resume"), check=True)
        self.assertFalse((run / "events.out.tfevents.stpn").exists())
        subprocess.run(self.command(run, "--tensorboard", "--resume"), check=True)
        self.assert_all_readers_show(run)


if __name__ == "__main__":
    unittest.main()
