"""minirun-oci, runc and crun: the same bundle through the same verbs, as an engine calls them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from .lab import Lab
from .timing import BenchError, run, time_ms

PEERS = ("runc", "crun")
_NUMBERS = count(1)


@dataclass(frozen=True)
class Runtime:
    """A low-level runtime with a state directory of its own, and two bundles.

    Args:
        name: in the table.
        command: with its globals.
        ends: the bundle whose process is ``true``.
        stays: the bundle whose process sleeps.
    """

    name: str
    command: tuple[str, ...]
    ends: Path
    stays: Path

    def argv(self, *words: str) -> tuple[str, ...]:
        """Return a command of this runtime."""
        return (*self.command, *words)

    def run_ms(self) -> float:
        """Return how long ``run`` takes: create, start, wait, delete."""
        return time_ms(self.argv("run", "--bundle", str(self.ends), new_id()))

    def stay(self) -> str:
        """Start a container that does nothing; it ends with the lab. Return its id."""
        name = new_id()
        # Not run(), which waits for all output: the container's would be part of it.
        time_ms(self.argv("create", "--bundle", str(self.stays), name))
        time_ms(self.argv("start", name))
        return name

    def life_ms(self) -> Mapping[str, float]:
        """Take a container through its life; return how long each verb took."""
        name = new_id()
        bundle, pid_file = str(self.stays), self.stays / f"{name}.pid"
        create = self.argv("create", "--bundle", bundle, "--pid-file", str(pid_file), name)
        spent = {"oci-create": time_ms(create)}
        for verb in ("state", "start"):
            spent[f"oci-{verb}"] = time_ms(self.argv(verb, name))
        pidfd = os.pidfd_open(int(pid_file.read_text()))
        spent["oci-kill"] = time_ms(self.argv("kill", name, "KILL"))
        _wait_for_end(pidfd)
        spent["oci-delete"] = time_ms(self.argv("delete", name))
        return spent


def new_id() -> str:
    """Return an id that nobody has used."""
    return f"bench{next(_NUMBERS)}"


def _wait_for_end(pidfd: int) -> None:
    """Wait for a process that is not our child. See: pidfd_open(2), "readable"."""
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if not poll.poll(10_000):
        raise BenchError("a killed container did not end in ten seconds")
    os.close(pidfd)


def runtimes(lab: Lab, own: Path) -> dict[str, Runtime]:
    """Return {name: runtime} of those that are installed, ours first."""
    commands = {"minirun-oci": str(own)}
    commands |= {name: path for name in PEERS if (path := shutil.which(name))}
    return {
        name: Runtime(
            name,
            (path, "--root", str(lab.volatile("oci", name))),
            _bundle(lab, name, "ends", ["true"]),
            _bundle(lab, name, "stays", ["sleep", "100000"]),
        )
        for name, path in commands.items()
    }


def _bundle(lab: Lab, owner: str, name: str, args: list[str]) -> Path:
    """Write a bundle: what ``spec`` writes, but for terminal, root and cgroup."""
    bundle = lab.folder("bundles", owner, name)
    template = bundle / "config.json"
    generator = shutil.which("runc") or str(_own_script())
    run((generator, "spec", "--bundle", str(bundle)))
    config = json.loads(template.read_text())
    config["process"] |= {"args": args, "terminal": False}
    config["root"] = {"path": str(lab.rootfs), "readonly": True}
    config["linux"]["cgroupsPath"] = f"{lab.cgroup}/oci-{owner}-{name}"
    template.write_text(json.dumps(config))
    return bundle


def _own_script() -> Path:
    return Path(__file__).parents[1] / "scripts/minirun-oci"
