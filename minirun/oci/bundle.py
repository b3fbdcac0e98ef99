"""A bundle and the options of create and run, as the Spec and the Request that lifecycle takes.

See: bundle.md. Next: ``create.py``.
"""

from __future__ import annotations

import os

from ..decode import decode
from ..errors import SpecError, UsageError, take_back
from ..lifecycle import Container, Request
from ..quickjson import loads
from ..record import replace
from ..spec import Spec
from .handover import kept_descriptors, require_console, send_console, send_pidfd
from .words import FLAG, VALUE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..host import Host
    from .report import Report
    from .words import Call

#: What create and run have in common.
OPTIONS = {
    "bundle": VALUE,
    "config": VALUE,
    "console-socket": VALUE,
    "pidfd-socket": VALUE,
    "pid-file": VALUE,
    "no-pivot": FLAG,
    "no-new-keyring": FLAG,
    "preserve-fds": VALUE,
}


def make(call: Call, report: Report, host: Host, *, detach: bool) -> tuple[Container, Spec, int]:
    """Create the container that a bundle describes.

    Args:
        call: of create or run.
        report: is told of each step with ``--debug``.
        host: as probed.
        detach: whether the terminal goes to the console socket.

    Returns:
        The container, its spec, and the terminal's master where it is ours to drive, else -1.
    """
    kept, environment = kept_descriptors(call)
    container = Container(call.root, call.container_id(), host)
    bundle = os.path.abspath(call.text("bundle", "."))
    spec = _with_environment(load(bundle, call.text("config")), environment)
    terminal = spec.process is not None and spec.process.terminal
    require_console(call, terminal=terminal, detach=detach)
    request = Request(
        container_id=container.id,
        bundle=bundle,
        cgroup_manager=call.cgroup_manager,
        pivot=not call.flag("no-pivot"),
        keyring=not call.flag("no-new-keyring"),
        keep_fds=kept,
    )
    master = container.create(spec, request, observe=report.observer()).get("console", -1)
    try:
        if master >= 0 and detach:
            send_console(call.text("console-socket"), master)
            os.close(master)
            master = -1
        if path := call.text("pidfd-socket"):
            send_pidfd(path, container.state().pid)
    except BaseException as error:
        take_back(error, lambda: container.delete(force=True))
        raise
    return container, spec, master


def load(bundle: str, config: str = "") -> Spec:
    """Return the spec of a bundle.

    Args:
        bundle: its directory.
        config: a file to take in place of its config.json, as with crun.

    Raises:
        UsageError: there is no such file.
        SpecError: it is not what the specification says.
    """
    path = os.path.abspath(config or f"{bundle}/config.json")
    try:
        with open(path, "rb") as file:
            held = parse_json(file.read(), "$")
    except FileNotFoundError as error:
        folder, name = os.path.split(path)
        raise UsageError(
            f"JSON specification file {name} not found in {folder}",
            hint="--bundle names the directory; minirun-oci spec writes one",
        ) from error
    spec = decode(Spec, held)
    if spec.process is None:
        raise SpecError("$.process", "required property is missing")
    return spec


def parse_json(data: bytes, path: str) -> Any:  # noqa: ANN401 - the JSON edge
    """Return what a JSON text holds.

    Raises:
        SpecError: it is no JSON or no UTF-8, or nested deeper than anything the specification
            knows.
    """
    try:
        return loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise SpecError(path, f"invalid JSON: {str(error).lower()}") from error


def _with_environment(spec: Spec, more: tuple[str, ...]) -> Spec:
    if not more or spec.process is None:
        return spec
    return replace(spec, process=replace(spec.process, env=(*spec.process.env, *more)))
