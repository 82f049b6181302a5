"""The progress on a terminal fits the window, also when its size changes; a log has a line an epoch."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import time
import unittest.mock

import support


class Terminal:
    """Runs the program with a terminal of so many columns as its standard error."""

    def __init__(self, folder, columns, *arguments):
        self.ours, theirs = pty.openpty()
        self.resize(columns)
        self.process = subprocess.Popen([support.STPN, *arguments], cwd=folder, stderr=theirs,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        os.close(theirs)
        self.text = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.ours)

    def resize(self, columns):
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def drawn(self, count):
        """The next lines that are drawn in place; fewer if the program ends before."""
        lines, end = [], time.monotonic() + 60
        while len(lines) < count and time.monotonic() < end:
            while match := re.search(r"\r([^\r\n\x1b]+)\x1b\[K", self.text):
                lines.append(match[1])
                self.text = self.text[match.end():]
            try:
                self.text += os.read(self.ours, 4096).decode("ascii")
            except OSError:  # the program has ended
                break
        return lines


class Progress(support.ProgramTest):
    def lines_of(self, columns):
        with Terminal(self.folder, columns, "train", "small.toml", "--out", f"run{columns}", "--set",
                      "train.epochs=1000") as terminal:
            return terminal.drawn(8)

    def expect_fits(self, lines, columns):
        self.assertGreater(len(lines), 2)
        for line in lines:
            self.assertLess(len(line), columns, line)
            self.assertRegex(line, r"\d+:\d\d:\d\d left *$")

    def test_fits_every_width(self):
        parts = {}
        for columns in (20, 40, 60, 80, 90, 132):
            lines = self.lines_of(columns)
            self.expect_fits(lines, columns)
            parts[columns] = lines[-1]
        for columns, line in parts.items():
            # Whole words only, and the less important left out.
            self.assertEqual("sequences/s" in line, columns >= 90, line)
            self.assertEqual("validation accuracy" in line, columns >= 60, line)
            self.assertEqual("epoch " in line, columns >= 40, line)
            self.assertEqual("[" in line, columns >= 80, line)
            self.assertRegex(line, r"^(\[=* *\] *)?(epoch \d+/1000 +)?(\d+ sequences/s +)?"
                                   r"(validation accuracy \S+ +)?\d+:\d\d:\d\d left *$")
        self.assertGreater(len(re.search(r"\[.*\]", parts[132])[0]),
                           len(re.search(r"\[.*\]", parts[90])[0]))

    def test_follows_the_window(self):
        with Terminal(self.folder, 120, "train", "small.toml", "--out", "run", "--set",
                      "train.epochs=100000") as terminal:
            self.expect_fits(terminal.drawn(3), 120)
            for columns in (40, 90, 20, 120):
                terminal.resize(columns)
                terminal.drawn(2)  # may have been drawn before
                self.expect_fits(terminal.drawn(3), columns)
            self.assertIn("sequences/s", terminal.drawn(1)[0])

    def test_reproduce_fits_too(self):
        toy = self.folder / "experiments" / "toy"
        toy.mkdir(parents=True)
        models = ["a_model_with_a_long_name", "another_long_name", "short"]
        for model in models:
            (toy / f"{model}.toml").write_text(support.EXPERIMENT.replace("= 8", "= 100000"))
        (toy / "reproduce.toml").write_text(f'[[set]]\nname = "set"\nmodels = {models}\n')
        with unittest.mock.patch.dict(os.environ, STPN_PYTHON="true"):
            with Terminal(self.folder, 200, "reproduce", "toy", "--jobs", "3") as terminal:
                wide = terminal.drawn(2)[-1]
                self.assertIn("0/3 done, ", wide)
                self.assertTrue(wide.endswith("; running: " + ", ".join(
                    f"set/{model}/seed1" for model in models)), wide)
                for columns, end in ((80, "; running: set/a_model_with_a_long_name/seed1 and 2 more"),
                                     (40, " left"), (15, " left")):
                    terminal.resize(columns)
                    terminal.drawn(1)
                    line, = terminal.drawn(1)
                    self.assertLess(len(line), columns)
                    self.assertTrue(line.endswith(end), line)

    def test_a_log_has_whole_lines_that_end_with_the_time_left(self):
        code, _, err = self.run_stpn("train", "small.toml", "--out", "run")
        self.assertEqual(code, 0)
        self.assertEqual(len(err.splitlines()), 8)
        for line in err.splitlines():
            self.assertRegex(line, r"^epoch \d/8  train loss .*  \d+\.\d s  \d+:\d\d:\d\d left$")
        self.assertTrue(err.endswith("  0:00:00 left\n"), err)


if __name__ == "__main__":
    support.main()
