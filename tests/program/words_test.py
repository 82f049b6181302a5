"""Numbers and words on the command line: what a number is, and that nothing else is taken for one."""

import os
import re
import unittest.mock

import support

MOST = 2**63 - 1
# Every option that is an integer: the arguments it goes with, the smallest and the largest value.
INTEGERS = {
    ("train", "--seed"): (("train", "small.toml"), 0, MOST),
    ("train", "--threads"): (("train", "small.toml"), 1, 1024),
    ("train", "--process-timeout"): (("train", "small.toml"), 1, 1_000_000),
    ("eval", "--episodes"): (("eval", "oracle.toml"), 1, 10_000_000),
    ("eval", "--process-timeout"): (("eval", "oracle.toml"), 1, 1_000_000),
    ("reproduce", "--seeds"): (("reproduce", "toy"), 1, 1000),
    ("reproduce", "--jobs"): (("reproduce", "toy"), 1, 1024),
}
# Every option and argument that is a text.
TEXTS = [("train", ""), ("train", "small.toml", "--out", ""), ("train", "small.toml", "--set", ""),
         ("train", "small.toml", "--device", ""),
         ("eval", ""), ("eval", "oracle.toml", "--set", ""), ("eval", "oracle.toml", "--trace", ""),
         ("reproduce", ""), ("reproduce", "toy", "--budget", ""), ("reproduce", "toy", "--out", ""),
         ("reproduce", "toy", "--ray", ""),
         ("list", ""), ("list", "units", ""), ("verify", "")]
NOT_INTEGERS = ["", " 5", "5 ", "+5", "010", "00", "0x10", "0b11", "1e3", "2.5", "1_000", "1'000", "5x",
                "five", "inf", "true", "9" * 100]
COMMANDS = ("train", "eval", "reproduce", "list", "verify")


class Words(support.ProgramTest):
    def setUp(self):
        super().setUp()
        self.write("oracle.toml", '[task]\nname = "maze"\nsize = 5\n[policy]\nname = "oracle"\n')
        toy = self.folder / "experiments" / "toy"
        toy.mkdir(parents=True)
        (toy / "lstm.toml").write_text(support.EXPERIMENT)
        (toy / "reproduce.toml").write_text('[[set]]\nname = "a"\nmodels = ["lstm"]\n')
        patch = unittest.mock.patch.dict(os.environ, STPN_PYTHON="true")
        patch.start()
        self.addCleanup(patch.stop)

    def expect_refused(self, arguments, *parts):
        with self.subTest(arguments):
            code, out, err = self.run_stpn(*arguments)
            self.assertEqual((code, out), (2, ""), err)
            self.expect_one_line(err, *parts)
            self.assertLess(len(err), 700)
            self.assertEqual(self.snapshot(), self.before)

    def test_the_tables_of_this_test_have_every_option(self):
        found, texts = set(), set()
        for command in COMMANDS:
            for name, kind in re.findall(r"^  (\S+) (INT|TEXT)\b", self.succeed(command, "--help"),
                                         re.MULTILINE):
                (found if kind == "INT" else texts).add((command, name))
        self.assertEqual(found, set(INTEGERS))
        named = {(words[0], words[-2]) for words in TEXTS if words[-2].startswith("--")}
        self.assertEqual({text for text in texts if text[1].startswith("--")}, named)

    def test_what_is_not_a_decimal_integer_is_refused(self):
        self.before = self.snapshot()
        for i, ((_, option), (arguments, least, most)) in enumerate(INTEGERS.items()):
            expected = f"expected an integer from {least} to {most}, in decimal digits"
            # One reader serves all options, and each start of the program takes a while.
            words = NOT_INTEGERS if i == 0 else NOT_INTEGERS[i::len(INTEGERS)]
            for word in words + [str(least - 1), str(most + 1)]:
                self.expect_refused((*arguments, option, word), f'{option} "{word}": {expected}')
            self.expect_refused((*arguments, f"{option}=010"), f'{option} "010": {expected}')
            self.expect_refused((*arguments, f"{option}="), option)
            self.expect_refused((*arguments, option), option)
            self.expect_refused((*arguments, option, "1", option, "2"), option)

    def test_what_is_not_a_decimal_number_is_refused_after_set(self):
        self.before = self.snapshot()
        for word in NOT_INTEGERS:
            if word.strip() == "5":  # spaces around the equals sign are allowed
                continue
            self.expect_refused(("train", "small.toml", "--set", f"train.epochs={word}"),
                                "[train] epochs = ", "expected an integer")
        for word in ("", "01", "0x10", "1_0.5", "+1.5", ".5", "5.", "1e400", "1,5", "nan", "inf", "-1",
                     "1e-3x"):
            self.expect_refused(("train", "small.toml", "--set", f"train.learning_rate={word}"),
                                "[train] learning_rate", "number")

    def test_empty_words_are_refused(self):
        self.before = self.snapshot()
        for arguments in TEXTS:
            self.expect_refused(arguments)
        for arguments in TEXTS:
            if arguments[-2].startswith("--"):
                self.expect_refused((*arguments[:-2], arguments[-2] + "="), arguments[-2])

    def test_flags_take_no_value(self):
        self.before = self.snapshot()
        for arguments in (("train", "small.toml", "--resume=maybe"),
                          ("train", "small.toml", "--quiet=x"), ("eval", "oracle.toml", "--json=x"),
                          ("reproduce", "toy", "--runs-only=x")):
            self.expect_refused(arguments, arguments[-1].split("=")[0])

    def test_the_ends_of_the_ranges_are_accepted(self):
        few = ("--set", "train.epochs=1", "--set", "task.training=50", "--quiet")
        self.succeed("train", "small.toml", "--seed", MOST, "--out", "a", *few)
        self.assertIn(f"seed = {MOST}\n", (self.folder / "a/config.toml").read_text())
        self.succeed("train", "small.toml", "--seed", 0, "--threads", 1, "--out", "b", *few)
        self.assertIn("seed = 0\n", (self.folder / "b/config.toml").read_text())
        self.succeed("train", "small.toml", "--threads", 1024, "--out", "c", *few)
        self.succeed("eval", "oracle.toml", "--episodes", 1)
        self.succeed("reproduce", "toy", "--seeds", 1, "--jobs", 1024)

    def test_numbers_after_set(self):
        self.succeed("train", "small.toml", "--out", "run", "--quiet", "--set", "train.epochs = 1",
                     "--set", "task.training=50", "--set", "train.learning_rate=2.5E-3")
        config = (self.folder / "run/config.toml").read_text()
        self.assertIn("epochs = 1\n", config)
        self.assertIn("learning_rate = 0.0025\n", config)

    def test_an_empty_environment_variable_is_an_unset_one(self):
        with unittest.mock.patch.dict(os.environ, STPN_PYTHON=""):
            (self.folder / ".venv/bin").mkdir(parents=True)
            (self.folder / ".venv/bin/python").symlink_to("/bin/false")
            self.before = self.snapshot()
            self.expect_refused(("reproduce", "toy"), ".venv/bin/python cannot make")


if __name__ == "__main__":
    support.main()
