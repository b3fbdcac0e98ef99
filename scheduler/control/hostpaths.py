"""Which paths of the host a replica may be given, and on whose word.

A replica runs as whoever its image says: to mount ``/`` is to be root on the host, and so is to run
a command in a replica that has it. So an admin may mount anything, and anybody else what
``minisched serve --allow-mount`` names. That very path and nothing below it: there a replica could
put a symbolic link to somewhere else.

Next: ``deployments.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from minirun import MinirunError, ScheduleError

from ..model import Deployment, Template, Volume
from .context import Control
from .problems import FieldProblem, FieldsError

_HINT = "use a named volume, or minisched serve --allow-mount with that very path"


def check_paths(
    control: Control, before: Deployment | None, wanted: Deployment, *, is_admin: bool
) -> None:
    """Refuse paths of the host that are not for this caller.

    A template that stays as it is was allowed once, whoever changes the rest. One that changes is
    judged as a whole: another command could read what an admin has mounted for the one before.

    Raises:
        FieldsError: with status 403, naming every such volume.
    """
    if is_admin or (before and before.template == wanted.template):
        return
    found = [
        FieldProblem(f"/volumes/{i}/source", f"{volume.source} is for an admin to mount")
        for i, volume in _reserved(control, wanted.template)
    ]
    if found:
        raise FieldsError(found, status=403, hint=_HINT)


def check_inside(control: Control, deployment: str, replica_id: str, *, is_admin: bool) -> None:
    """Refuse a command in a replica that has paths of the host which are not for this caller.

    Raises:
        ScheduleError: with status 403, naming one of them; or there is no such replica (404).
    """
    entry, _ = control.entry(deployment)
    templates = [entry.revision(s.revision).template for s in entry.slots if s.id == replica_id]
    if not templates:
        raise ScheduleError(f"there is no replica {replica_id}", status=404)
    for _, volume in () if is_admin else _reserved(control, templates[0]):
        text = f"{volume.source} is mounted in {replica_id}, and is for an admin"
        raise ScheduleError(text, status=403, hint=_HINT)


def _reserved(control: Control, template: Template) -> Iterator[tuple[int, Volume]]:
    """Yield the volumes that only an admin may use, each with its place in the list."""
    for i, volume in enumerate(template.volumes):
        if volume.kind == "bind" and volume.source not in control.mounts:
            yield i, volume


def allowed(paths: Iterable[str]) -> frozenset[str]:
    """Return the paths that anybody may mount.

    Raises:
        MinirunError: one is not absolute and plain, or lies in another.
    """
    found = frozenset(path.rstrip("/") or "/" for path in paths)
    for path in sorted(found):
        if not path.startswith("/") or ".." in Path(path).parts or str(Path(path)) != path:
            hint = "an absolute path without .. in it"
            raise MinirunError(f"--allow-mount {path!r} is not a plain path", hint=hint)
        for above in found & {str(parent) for parent in Path(path).parents}:
            hint = "a replica that has the outer one could replace the inner one by a link"
            raise MinirunError(f"--allow-mount {path} lies in --allow-mount {above}", hint=hint)
    return found
