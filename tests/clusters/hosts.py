"""Two hosts on one machine: network namespaces of Linux, joined by a virtual cable. Needs root, `ip`, `unshare`."""

import os
import pathlib
import subprocess

ADDRESSES = ("10.77.0.1", "10.77.0.2")
# mpirun calls it in place of ssh: HOST COMMAND...
AGENT = """#!/bin/sh
shift
exec ip netns exec {namespace} unshare --uts sh -c 'hostname host-1; exec sh -c "$0"' "$*"
"""
# With these, mpirun notices within seconds that a machine cannot be reached; without, it may wait for long.
KEEPALIVE = ("--mca", "oob_tcp_keepalive_time", "4", "--mca", "oob_tcp_keepalive_intvl", "1",
             "--mca", "oob_tcp_keepalive_probes", "3")


class Hosts:
    """Exists in a `with` statement; the namespaces go with it."""

    def __init__(self, place):
        self.names = [f"stpn{os.getpid()}-{i}" for i in range(2)]
        self.cables = [f"stpn{os.getpid()}v{i}" for i in range(2)]
        self.agent = pathlib.Path(place, "agent")
        self.agent.write_text(AGENT.format(namespace=self.names[1]))
        self.agent.chmod(0o755)

    def ip(self, *words):
        subprocess.run(["ip", *words], check=True)

    def __enter__(self):
        for name in self.names:
            self.ip("netns", "add", name)
        self.ip("link", "add", self.cables[0], "netns", self.names[0], "type", "veth",
                "peer", "name", self.cables[1], "netns", self.names[1])
        for name, cable, address in zip(self.names, self.cables, ADDRESSES):
            self.ip("-n", name, "address", "add", f"{address}/24", "dev", cable)
            self.ip("-n", name, "link", "set", "lo", "up")
            self.ip("-n", name, "link", "set", cable, "up")
        return self

    def __exit__(self, *_):
        for name in self.names:
            for pid in subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True,
                                      check=True).stdout.split():
                os.kill(int(pid), 9)
            self.ip("netns", "delete", name)

    def mpirun(self, processes, *options):
        """The command that runs on the first host and starts processes on both in turns."""
        hosts = ",".join(f"{address}:{processes}" for address in ADDRESSES)
        return ["ip", "netns", "exec", self.names[0], "unshare", "--uts", "sh", "-c",
                'hostname host-0; exec "$0" "$@"', "mpirun", "--mca", "plm_rsh_agent", str(self.agent),
                "--mca", "oob_tcp_if_include", "10.77.0.0/24", "--mca", "btl_tcp_if_include", "10.77.0.0/24",
                "--host", hosts, "--map-by", "node", "--bind-to", "none", *options, "-n", str(processes)]

    def cut(self):
        self.ip("-n", self.names[1], "link", "set", self.cables[1], "down")

    def mend(self):
        self.ip("-n", self.names[1], "link", "set", self.cables[1], "up")

    def bytes_sent(self):
        """By the first host."""
        statistics = f"/sys/class/net/{self.cables[0]}/statistics/tx_bytes"
        return int(subprocess.run(["ip", "netns", "exec", self.names[0], "cat", statistics], check=True,
                                  capture_output=True, text=True).stdout)
