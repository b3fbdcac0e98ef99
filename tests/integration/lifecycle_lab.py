"""Containers of one root file system, by way of ``Container``; and what they leave on a host."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from minirun.decode import decode
from minirun.errors import StateError
from minirun.host import probe
from minirun.lifecycle import Container, Request
from minirun.spec import Spec
from minirun.steps.base import Step
from minirun.steps.overlay import Overlay
from tests.integration.engine_lab import eventually
from tests.offspring import Offspring

NAMESPACES = ("mount", "pid", "uts", "ipc", "network", "cgroup")
REMAPPED = [{"containerID": 0, "hostID": 100000, "size": 65536}]
_numbers = count()
Json = dict[str, Any]


class Lab:
    """Makes containers of one root file system, and takes them away."""

    def __init__(self, root: Path, rootfs: Path, folder: Path) -> None:
        self.root, self.rootfs, self.folder = root, rootfs, folder
        self.made: list[Container] = []
        self.offspring = Offspring()

    def config(self, *args: str, **process: Any) -> Json:  # noqa: ANN401
        """Return a config.json with a read-write overlay root, /proc and /dev."""
        return {
            "ociVersion": "1.2.0",
            "root": {"path": "rootfs"},
            "hostname": "lab",
            "process": {"cwd": "/", "args": list(args), "env": ["PATH=/bin"], **process},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {
                    "destination": "/dev",
                    "type": "tmpfs",
                    "source": "tmpfs",
                    "options": ["mode=755"],
                },
                {"destination": "/dev/pts", "type": "devpts", "options": ["newinstance"]},
            ],
            "linux": {"namespaces": [{"type": kind} for kind in NAMESPACES]},
        }

    def container(self, name: str = "") -> Container:
        made = Container(str(self.root), name or f"lab-{os.getpid()}-{next(_numbers)}", probe())
        self.made.append(made)
        return made

    def create(self, container: Container, config: Json, out: int = -1, **more: Any) -> None:  # noqa: ANN401
        """Create it with its output going to a descriptor."""
        null = os.open(os.devnull, os.O_RDWR)
        out = null if out < 0 else out
        layers = self.folder / container.id
        for name in ("upper", "work"):
            (layers / name).mkdir(parents=True, exist_ok=True)
        stack = Overlay((str(self.rootfs),), str(layers / "upper"), str(layers / "work"))
        spec = decode(Spec, config)
        request = Request(container.id, str(self.folder), overlay=stack, stdio=(null, out, out))
        try:
            container.create(spec, request, **more)
        finally:
            os.close(null)

    def run(self, config: Json) -> tuple[int, str]:
        """Return the exit code and the output of one container."""
        container = self.container()
        out = os.memfd_create("out")
        try:
            self.create(container, config, out)
            pid = container.state().pid
            container.start()
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            container.delete()
            return code, os.pread(out, 1 << 20, 0).decode()
        finally:
            os.close(out)

    def sh(self, script: str, **process: Any) -> str:  # noqa: ANN401
        """Return what a script prints; it must succeed."""
        code, text = self.run(self.config("sh", "-c", script, **process))
        assert code == 0, text
        return text

    def close(self) -> None:
        for container in self.made:
            container.delete(force=True)
        eventually(self.offspring.reap, lambda left: not left)


def footprint(state_root: Path) -> set[str]:
    """Return what a container of this process leaves on a host: state, groups, mounts."""
    ours = f"lab-{os.getpid()}-"
    found = {f"state {name}" for name in os.listdir(state_root) if name[0] != "."}
    for tree in ("minirun", "*/minirun"):  # v2 has one, v1 one for each controller
        found |= set(map(str, Path("/sys/fs/cgroup").glob(f"{tree}/{ours}*")))
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return found | {line.split()[4] for line in mounts if ours in line}


def fork(act: Callable[[], object]) -> int:
    """Run something in a child: exit code 0, 5 for a StateError, 6 for what should not be."""
    pid = os.fork()
    if pid:
        return pid
    try:
        act()
        os._exit(0)
    except StateError:
        os._exit(5)
    finally:
        os._exit(6)


def steps_of(lab: Lab, config: Json) -> tuple[Step, ...]:
    container = Container(str(lab.root), "plan", probe())
    stack = Overlay(("/",), "/u", "/w")
    request = Request("plan", str(lab.folder), overlay=stack)
    return container.plan(decode(Spec, config), request)[0].steps


def full(lab: Lab, *, remapped: bool) -> Json:
    """Return a config that has almost every step there is."""
    config = lab.config("true", noNewPrivileges=True, oomScoreAdj=500)
    config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "hard": 512, "soft": 256}]
    hook = [{"path": "/bin/true"}]
    config["hooks"] = dict.fromkeys(("prestart", "createRuntime", "createContainer"), hook)
    config["root"]["readonly"] = True
    linux = config["linux"]
    linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    linux["maskedPaths"], linux["readonlyPaths"] = ["/proc/keys"], ["/proc/sys"]
    if remapped:
        linux["namespaces"].append({"type": "user"})
        linux["uidMappings"] = linux["gidMappings"] = REMAPPED
        bind = {"destination": "/vol", "type": "bind", "source": str(lab.folder)}
        config["mounts"].append({**bind, "options": ["rbind", "idmap"]})
    return config
