"""write a running container to disk, through criu; it is gone then, unless it is left running.

    state ─▶ what it has from outside ─▶ criu dump ─▶ delete

criu stops every process of the group, has each tell about itself, and kills it in the end. What it
must not look into, because it is not the container's, is named to it: see ``outside.py``.

See: runc-checkpoint(8), criu(8). Next: ``restore.py``.
"""

from __future__ import annotations

import os

from ..errors import StateError, UsageError
from ..host import probe
from ..lifecycle import Container
from . import criu, outside
from .words import FLAG, LIST, VALUE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec import Spec
    from ..state import State
    from .report import Report
    from .words import Call

#: What checkpoint and restore have in common, as criu spells it.
COMMON = {
    "tcp-established": "--tcp-established",
    "ext-unix-sk": "--ext-unix-sk",
    "shell-job": "--shell-job",
    "file-locks": "--file-locks",
    "auto-dedup": "--auto-dedup",
}
_FLAGS = {
    **COMMON,
    "tcp-skip-in-flight": "--skip-in-flight",
    "leave-running": "--leave-running",
    "link-remap": "--link-remap",
}
#: Pages that travel while the container runs need a second criu that nobody here would tend.
_REFUSED = {"lazy-pages": FLAG, "page-server": VALUE, "status-fd": VALUE}
PLACES = {"image-path": VALUE, "work-path": VALUE, "manage-cgroups-mode": VALUE, "empty-ns": LIST}
OPTIONS = {
    **PLACES,
    **dict.fromkeys(_FLAGS, FLAG),
    "parent-path": VALUE,
    "pre-dump": FLAG,
    **_REFUSED,
}
#: runc's fourth, ``ignore``, would take the restored container out of its cgroup namespace.
_MODES = ("soft", "full", "strict")


def main(call: Call, report: Report) -> int:
    """Dump, then delete what no longer runs."""
    del report
    refuse_options(call, tuple(_REFUSED))
    container = Container(call.root, call.container_id(), probe())
    program = criu.find(call.criu)
    spared = call.flag("leave-running") or call.flag("pre-dump")
    with container.directory.lock():
        state = container.state()
        if state.status not in ("running", "paused"):
            raise StateError(f"container cannot be checkpointed in {state.status} state")
        spec = container.directory.read_spec()
        outside.refuse(spec)
        _dump(call, container, state, spec, program)
    if not spared:
        container.delete(force=True)
    return 0


def _dump(call: Call, container: Container, state: State, spec: Spec, program: str) -> None:
    """Let criu write the images; one that was paused is paused afterwards, if it is there."""
    images, work = folders(call)
    for folder in (images, work):
        os.makedirs(folder, 0o700, exist_ok=True)
    found = outside.look(state.pid)
    verb = "pre-dump" if call.flag("pre-dump") else "dump"
    words = [verb, "--tree", str(state.pid), "--root", state.rootfs]
    words += ["--images-dir", images, "--work-dir", work, *chosen(call, _FLAGS), *_parent(call)]
    if verb == "dump":
        words += [*_external(spec, found), *manage_cgroups(call, state.cgroup_manager)]
        outside.save(images, found)
    driver = container.driver(state)
    if freezer := driver.dirs.get("", driver.dirs.get("freezer", "")):
        words += ["--freeze-cgroup", freezer]
    if state.status == "paused":
        driver.thaw()  # criu stops them in its own way
    try:
        criu.run(program, words, f"{work}/{verb}.log")
    finally:
        if state.status == "paused" and driver.pids():
            driver.freeze()


def _external(spec: Spec, found: outside.Outside) -> list[str]:
    """Return what is not to be dumped; where it is again is for the restore to say."""
    paths = [*found.masks, *(path for _, path in outside.binds(spec))]
    named = [f"mnt[{path}]:{path}" for path in paths]
    named += [name for name in found.descriptors if name.startswith("file[")]
    if path := outside.joined_network(spec):
        named.append(f"net[{os.stat(path).st_ino}]:{outside.NETWORK}")
    return [word for name in named for word in ("--external", name)]


def _parent(call: Call) -> list[str]:
    """Return the options of a dump in several steps: only what has changed is written again."""
    words = ["--track-mem"] if call.flag("pre-dump") or call.text("parent-path") else []
    if parent := call.text("parent-path"):
        words += ["--prev-images-dir", parent]  # relative to the images, as with runc
    return words


# ── shared with restore ───────────────────────────────────────────────────────────────────────


def refuse_options(call: Call, names: tuple[str, ...]) -> None:
    """Refuse what would otherwise be ignored.

    Raises:
        UsageError: names the option.
    """
    for name in names:
        if call.options.get(name):
            raise UsageError(f"{call.verb} --{name} is not supported by this runtime")


def folders(call: Call) -> tuple[str, str]:
    """Return the absolute directories of the images and of the log."""
    images = os.path.abspath(call.text("image-path", "checkpoint"))
    return images, os.path.abspath(call.text("work-path", images))


def chosen(call: Call, table: dict[str, str]) -> list[str]:
    """Return criu's words for the options that are on, and for the namespaces to leave empty.

    Raises:
        UsageError: another namespace than the network's is to be left empty.
    """
    words = [word for name, word in table.items() if call.flag(name)]
    for empty in call.many("empty-ns"):
        if empty != "network":
            raise UsageError(f"--empty-ns {empty}: only network can be left empty")
        words += ["--empty-ns", "net"]
    return words


def manage_cgroups(call: Call, manager: str) -> tuple[str, ...]:
    """Return what criu does with control groups.

    Raises:
        UsageError: no such mode.
    """
    mode = call.text("manage-cgroups-mode", "soft")
    if mode not in _MODES:
        raise UsageError(f"--manage-cgroups-mode {mode!r}", hint=f"one of {', '.join(_MODES)}")
    return ("--manage-cgroups=ignore" if manager == "disabled" else f"--manage-cgroups={mode}",)
