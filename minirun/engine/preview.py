"""What a start would do, without doing it: the plan of ``minirun explain``.

Everything that ``create`` looks up on the host is replaced by what a first container on a common
machine would get, so no root is needed, and no Linux either; only the layers of a stored image are
looked at, for nothing but the command that its author chose.

Next: ``../explain.py``, which tells the plan.
"""

from __future__ import annotations

import os

from ..container import specify
from ..container.specify import Facts
from ..host import Host
from ..image.model import ContainerConfig
from ..plan import Filter, Setting, plan_create
from ..record import Record
from ..steps.overlay import Overlay
from .remapping import CONVENTIONAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..container.options import RunOptions
    from ..plan import Plan
    from .home import Home

#: Stands in paths where a container's id would.
EXAMPLE_ID = "example"
_HOME = "/var/lib/minirun"
_ROOT = "/run/minirun"


class Preview(Record):
    """The plan, and what IMAGE was taken for."""

    why: str
    plan: Plan
    details: dict[str, tuple[tuple[str, str], ...]]


def preview(home: Home, text: str, options: RunOptions) -> Preview:
    """Return the plan of ``run`` with these options.

    Raises:
        ImageError: there is no such image.
        MinirunError: the options contradict each other, or the image.
    """
    why, config, layers = _look(home, text)
    if not (options.command or config.cmd or config.entrypoint or options.entrypoint):
        config = ContainerConfig(cmd=("/bin/sh",))
    facts = _facts(options)
    spec = specify.to_spec(options, config, facts)
    plan = plan_create(spec, Host(), _setting(options, layers))
    return Preview(why, plan, _details(options))


def _look(home: Home, text: str) -> tuple[str, ContainerConfig, int]:
    """Return (what it is, what its author wants to run, how many layers it has)."""
    from ..errors import ImageError
    from ..image.sniff import DOCKERFILE_DIR, IMAGE_NAME, ROOTFS, sniff

    if not text:
        return "an image of one layer, as an example", ContainerConfig(cmd=("/bin/sh",)), 1
    found = sniff(text)
    if found.kind == ROOTFS:
        return found.why, ContainerConfig(cmd=("/bin/sh",)), 1
    if found.kind == DOCKERFILE_DIR:
        name = os.path.basename(os.path.abspath(text)).lower()
        try:
            image = home.images.resolve(name)
        except ImageError:
            return f"{found.why}; it was not built yet", _of_dockerfile(text), 2
        return found.why, image.config.config, len(image.layers)
    if found.kind == IMAGE_NAME:
        image = home.images.resolve(text)
        return found.why, image.config.config, len(image.layers)
    return found.why, ContainerConfig(cmd=("/bin/sh",)), 1


def _of_dockerfile(folder: str) -> ContainerConfig:
    """Return what the last stage of a Dockerfile says in plain words; no step is carried out."""
    from ..image import dockerfile

    for name in ("Dockerfile", "Containerfile"):
        path = os.path.join(folder, name)
        if os.path.exists(path):
            break
    with open(path, encoding="utf-8") as file:
        parsed = dockerfile.parse(file.read(), path)
    cmd: tuple[str, ...] = ()
    for instruction in parsed.instructions:
        if instruction.keyword == "FROM":
            cmd = ()
        elif instruction.keyword in ("CMD", "ENTRYPOINT") and not cmd:
            cmd = ("/bin/sh",)
    return ContainerConfig(cmd=cmd or ("/bin/sh",))


def _facts(options: RunOptions) -> Facts:
    folder = f"{_HOME}/containers/{EXAMPLE_ID}"
    etc = {f"/etc/{name}": f"{folder}/{name}" for name in ("hosts", "hostname", "resolv.conf")}
    mapped = (CONVENTIONAL,) if options.userns == "auto" else ()
    volumes = {
        m.target: f"{_HOME}/volumes/{m.source or 'anonymous'}/_data"
        for m in options.mounts
        if m.type == "volume"
    }
    hostname = specify.hostname_for(options, EXAMPLE_ID, "host")
    return Facts(
        EXAMPLE_ID,
        hostname,
        "rootfs",
        etc_files=etc,
        volumes=volumes,
        uid_mappings=mapped,
        gid_mappings=mapped,
    )


def _setting(options: RunOptions, layers: int) -> Setting:
    folder = f"{_HOME}/containers/{EXAMPLE_ID}"
    image = (f"{_HOME}/l/layer{number}" for number in range(layers, 0, -1))
    lowers = (*image, f"{_HOME}/foundation")
    group = f"minirun/{EXAMPLE_ID}"
    filtered = options.security.seccomp != "unconfined" and not options.privileged
    return Setting(
        EXAMPLE_ID,
        f"{_ROOT}/{EXAMPLE_ID}/rootfs",
        state_path=f"{_ROOT}/{EXAMPLE_ID}/state.json",
        overlay=Overlay(lowers, f"{folder}/upper", f"{folder}/work"),
        layers=f"{_ROOT}/{EXAMPLE_ID}/layers",
        cgroup=group,
        cgroup_directories=(("unified", f"/sys/fs/cgroup/{group}"),),
        seccomp=Filter(b"") if filtered else None,
        network="bridge" if options.network.mode == "bridge" else "",
    )


def _details(options: RunOptions) -> dict[str, tuple[tuple[str, str], ...]]:
    """Return what the network step consists of."""
    if options.network.mode != "bridge":
        return {}
    from ..network import NetworkConfig, describe, parse_publish

    ports = tuple(port for text in options.network.publish for port in parse_publish(text))
    return {"attach-network": describe(NetworkConfig(ports=ports))}
