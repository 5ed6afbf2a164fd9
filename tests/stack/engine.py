"""A Docker engine with Compose and BuildKit: the one at hand, or one out of Debian's packages.

The second needs root, debootstrap, and the machine's own Debian mirror. It lives in a root of Debian 13 under
`target/stack`, with its data and its socket; nothing of it outlives this process. In a mere chroot each `docker exec`,
and so each health check, would land in the machine's root: hence the namespaces and `pivot_root`.
"""

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
WORK = PROJECT / "target" / "stack"
ROOT = WORK / "engine"
SUITE = "trixie"
PACKAGES = ["ca-certificates", "docker.io", "docker-cli", "docker-buildx", "docker-compose", "iptables", "iproute2"]
# What docker-compose.yml asks for.
NEEDED = {"docker": (25, 0), "compose": (2, 24)}
START_DEADLINE = 60
CLONE_NEWNET = 0x40000000

# Run in the new namespaces, with the root as the working directory. $1 is the project, the rest is dockerd.
ENTER = r"""
set -e
project=$1; shift
mount --rbind . .
cd "$PWD"
mkdir -p ".$project" old
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount --bind "$project" ".$project"
cat /etc/resolv.conf > etc/resolv.conf
cat /etc/ssl/certs/ca-certificates.crt > etc/ssl/certs/ca-certificates.crt
pivot_root . old
umount -l old
ip link set lo up
exec "$@"
"""


class CannotRun(Exception):
    """What is missing, and what to do about it."""


def version(command):
    result = subprocess.run(command, capture_output=True, text=True)
    numbers = re.match(r"v?(\d+)\.(\d+)", result.stdout.strip()) if result.returncode == 0 else None
    return (int(numbers[1]), int(numbers[2])) if numbers else None


class Native:
    """The engine that the machine has."""

    standins = False

    @staticmethod
    def usable():
        if not shutil.which("docker"):
            return False
        docker = version(["docker", "version", "--format", "{{.Server.Version}}"])
        compose = version(["docker", "compose", "version", "--short"])
        return (docker or (0,)) >= NEEDED["docker"] and (compose or (0,)) >= NEEDED["compose"]

    build_options = ()

    def command(self, *arguments):
        return self.at_home("docker", *arguments)

    def at_home(self, *command):
        """A command in the root that the engine runs in."""
        return list(command)

    def for_building(self):
        pass

    def for_running(self):
        pass

    def stop(self):
        pass


class Own:
    """An engine in a root of its own: with the machine's network to build, with none but its own to run."""

    standins = True
    build_options = ("--network=host",)

    def __init__(self):
        if os.geteuid() != 0 or not shutil.which("debootstrap"):
            raise CannotRun("no Docker 25 with Compose 2.24 at hand; to make one, run this as root on Debian and "
                            "`apt-get install debootstrap`")
        self.process = None
        if not (ROOT / "complete").exists():
            shutil.rmtree(ROOT, ignore_errors=True)
            WORK.mkdir(parents=True, exist_ok=True)
            bootstrap(ROOT, PACKAGES)
            (ROOT / "complete").touch()

    def command(self, *arguments):
        return self.at_home("docker", *arguments)

    def at_home(self, *command):
        return ["nsenter", f"--target={self.pid}", "--mount", f"--root=/proc/{self.pid}/root",
                f"--wd=/proc/{self.pid}/root{PROJECT}", "--", *command]

    def for_building(self):
        """Touches nothing of the machine's network: builds use that as any process does."""
        self.start([], ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"])

    def for_running(self):
        """This process goes along into the network of the containers, where their ports are published."""
        self.start(["--net"], [])
        with open(f"/proc/{self.pid}/ns/net") as network:
            if ctypes.CDLL(None, use_errno=True).setns(network.fileno(), CLONE_NEWNET) != 0:
                raise CannotRun(f"can't enter the engine's network: {os.strerror(ctypes.get_errno())}")

    def start(self, namespaces, options):
        self.stop()
        log = open(WORK / "dockerd.log", "ab")
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child=TERM", "--propagation=private", *namespaces,
             "sh", "-c", ENTER, "sh", str(PROJECT), "dockerd", "--storage-driver=overlay2", *options],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )
        deadline = time.monotonic() + START_DEADLINE
        while time.monotonic() < deadline and self.process.poll() is None:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            if children:
                self.pid = int(children[0])
                if subprocess.run(self.command("info"), capture_output=True).returncode == 0:
                    return
            time.sleep(0.2)
        self.stop()
        raise CannotRun(f"dockerd did not start: see {WORK / 'dockerd.log'}")

    def stop(self):
        if self.process is None:
            return
        # dockerd is the first process of its namespace: with it go all containers.
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                os.kill(self.pid, signal.SIGKILL)
                self.process.wait()
        self.process = None


def bootstrap(root, packages, suite=SUITE):
    """A Debian with these packages, from the mirror that the machine uses."""
    files = [path for path in Path("/etc/apt").rglob("*") if path.suffix in (".list", ".sources")]
    sources = "\n".join(path.read_text() for path in files)
    mirror = re.search(r"^(?:URIs: *|deb (?:\[.*?\] *)?)(https?://\S+/debian)/?(?=\s|$)", sources, re.M)
    if not mirror:
        raise CannotRun("no Debian mirror in /etc/apt")
    subprocess.run(["debootstrap", "--variant=minbase", f"--include={','.join(packages)}", suite, root, mirror[1]],
                   check=True, stdout=subprocess.DEVNULL)


def consumer():
    """The Python of an environment with what the consumers in Python need."""
    venv = WORK / "venv"
    if not (venv / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
        requirements = PROJECT / "examples/consumers/python/requirements.txt"
        subprocess.run([venv / "bin/python", "-m", "pip", "install", "--quiet", f"--requirement={requirements}"], check=True)
        (venv / "complete").touch()
    return venv / "bin/python"


def find():
    return Native() if Native.usable() else Own()
