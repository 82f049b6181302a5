"""The installed program finds libtorch, or says what to do."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import support


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        holder = tempfile.TemporaryDirectory(prefix="stpn_install_")
        cls.addClassCleanup(holder.cleanup)
        cls.folder = pathlib.Path(holder.name)
        build = pathlib.Path(support.STPN).parents[1]
        subprocess.run([shutil.which("cmake"), "--install", build, "--prefix", cls.folder / "prefix"],
                       check=True, stdout=subprocess.DEVNULL)
        cls.script = cls.folder / "prefix/bin/stpn"

    def run_script(self, script, *arguments, **variables):
        return subprocess.run([script, *arguments], cwd=self.folder, capture_output=True, text=True,
                              env={**os.environ, **variables})

    def torch(self):
        """The folder of torch that the script has."""
        line, = [line for line in self.script.read_text().splitlines() if line.startswith("torch=")]
        return pathlib.Path(line.removeprefix("torch=${STPN_TORCH_DIR:-").removesuffix("}"))

    def test_runs_also_through_a_link_and_has_its_experiments(self):
        run = self.run_script(self.script, "list", "experiments", "maze/oracle")
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("prefix/share/stpn/experiments/maze/oracle.toml: ", run.stdout)
        link = self.folder / "link"
        link.symlink_to("prefix/bin/stpn")
        self.assertRegex(self.run_script(link, "--version").stdout, r"^stpn \d")
        run = self.run_script(link, "train", "", "--seed", "a b")
        self.assertEqual((run.returncode, run.stderr.count("\n")), (2, 1), run.stderr)

    def test_without_libtorch_says_what_to_do(self):
        moved = self.script.with_name("moved")
        moved.write_text(self.script.read_text().replace(str(self.torch()), "/absent/torch"))
        moved.chmod(0o755)
        for script, variables in ((moved, {}), (self.script, {"STPN_TORCH_DIR": "/absent/torch"})):
            run = self.run_script(script, "--version", **variables)
            self.assertEqual((run.returncode, run.stdout), (1, ""))
            self.assertRegex(run.stderr, r"^stpn: there is no libtorch in /absent/torch: set "
                                         r"STPN_TORCH_DIR to .* torch \d+\.\d+\.\d+, .*\n$")
        run = self.run_script(moved, "--version", STPN_TORCH_DIR=str(self.torch()))
        self.assertEqual(run.returncode, 0, run.stderr)

    def test_uses_the_libtorch_of_the_variable(self):
        other = self.folder / "other torch"
        other.mkdir()
        (other / "lib").symlink_to(self.torch() / "lib")
        run = self.run_script(self.script, "--version", STPN_TORCH_DIR=str(other), LD_DEBUG="libs")
        self.assertEqual(run.returncode, 0)
        self.assertIn(f"calling init: {other}/lib/libtorch_cpu.so", run.stderr)


if __name__ == "__main__":
    support.main()
