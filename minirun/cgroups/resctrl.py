"""Intel RDT: how much of a cache and of the memory's bandwidth a container may use.

    top/                     the mounted resctrl file system; itself the class of everybody else
    top/<closID>/            a class: schemata says what it has, tasks who is in it
    top/<closID>/mon_groups/<id>/    counters for some of the tasks of a class

A class is not a control group, though it looks like one: it is flat, the processor has only a few
of them (``info/L3/num_closids``), and a child is in its parent's. So containers may share a class
by its name, and only one that has no name but the container's own is made and removed with it.

See: config-linux.md, IntelRdt; the kernel's Documentation/filesystems/resctrl.rst.
Next: ``../steps/resctrl.py``, which joins.
"""

from __future__ import annotations

import errno
import os

from ..errors import HostError, StateError, SyscallError
from ..record import Record
from . import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ..spec import IntelRdt

#: A file of the container's directory, with the path of what goes when the container goes.
NOTE = "resctrl"
#: ``closID`` for the class of everybody else.
TOP = "/"
_SCHEMAS = {"L3": "l3_cache_schema", "MB": "mem_bw_schema"}
#: One file for each in every domain of ``mon_data``, where the processor counts it.
_COUNTERS = {"mbm_stats": ("mbm_total_bytes", "mbm_local_bytes"), "cmt_stats": ("llc_occupancy",)}


class ServiceClass(Record):
    """Where a container's processes go.

    Args:
        directory: the class.
        lines: of its schemata file, in the order of writing; empty leaves it as it is.
        monitor: the monitoring group of this container alone, or "".
        owned: the directory that goes when the container goes, or "".
        must_exist: whether the class is somebody else's to make.
    """

    directory: str
    lines: tuple[str, ...] = ()
    monitor: str = ""
    owned: str = ""
    must_exist: bool = False

    @property
    def directories(self) -> tuple[str, ...]:
        """Return whose ``tasks`` a process is written to: the class first, as the kernel wants."""
        return (self.directory, self.monitor) if self.monitor else (self.directory,)


def service_class(rdt: IntelRdt, container_id: str, top: str) -> ServiceClass:
    """Return what ``linux.intelRdt`` means for a container.

    >>> from minirun.spec import IntelRdt
    >>> service_class(IntelRdt(clos_id="gold"), "web", "/sys/fs/resctrl").directory
    '/sys/fs/resctrl/gold'
    """
    name = rdt.clos_id or container_id
    directory = top if name == TOP else f"{top}/{name}"
    monitor = f"{directory}/mon_groups/{container_id}" if rdt.enable_monitoring else ""
    lines = schemata(rdt)
    return ServiceClass(
        directory=directory,
        lines=lines,
        monitor=monitor,
        owned=monitor if rdt.clos_id else directory,  # a class takes its monitoring groups along
        must_exist=bool(rdt.clos_id) and not lines,
    )


def schemata(rdt: IntelRdt) -> tuple[str, ...]:
    r"""Return the lines to write: those of ``schemata`` last, where they win.

    >>> from minirun.spec import IntelRdt
    >>> schemata(IntelRdt(l3_cache_schema="L3:0=f\nMB:0=9", mem_bw_schema="MB:0=20"))
    ('L3:0=f', 'MB:0=20')
    """
    cache = rdt.l3_cache_schema.splitlines()
    if rdt.mem_bw_schema:
        cache = [line for line in cache if not line.startswith("MB:")]
    return tuple(filter(None, (*cache, rdt.mem_bw_schema, *rdt.schemata)))


def make(wanted: ServiceClass) -> None:
    """Make the class and its monitoring group as far as they are missing, and write its schemata.

    Raises:
        StateError: a named class does not exist, or has other schemata than the ones wanted.
        HostError: the processor has no more classes, or the schemata do not fit it.
    """
    there = os.path.isdir(wanted.directory)
    if wanted.must_exist and not there:
        raise StateError(
            f"intelRdt: there is no class {wanted.directory}",
            hint="make it with mkdir, or give its schemata too",
        )
    if there and wanted.owned != wanted.directory:
        _compare(wanted)
    else:
        _make_directory(wanted.directory)
        write_schemata(wanted.directory, wanted.lines)
    if wanted.monitor:
        _make_directory(wanted.monitor)


def write_schemata(directory: str, lines: tuple[str, ...]) -> None:
    """Write lines in one go, so that either all of them hold or none.

    Raises:
        HostError: the processor cannot do that; in the kernel's words.
    """
    if not lines:
        return
    try:
        files.write(f"{directory}/schemata", "\n".join(lines) + "\n")
    except SyscallError as error:
        top = os.path.dirname(directory)
        told = files.read(f"{top}/info/last_cmd_status", "").strip()
        raise HostError(
            f"intelRdt: {'; '.join(lines)}: {told or error}",
            hint=f"compare it with {top}/schemata and what is in {top}/info",
        ) from error


def join(directories: tuple[str, ...], pid: int) -> None:
    """Put a process, and the children that it will have, into a class."""
    for directory in directories:
        files.write(f"{directory}/tasks", str(pid))


def remove(directory: str) -> None:
    """Remove a class or a monitoring group; its tasks fall back to the one above. Gone is fine."""
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return
    except OSError as error:
        raise SyscallError(f"rmdir({directory!r})", error.errno or 0) from error


def remove_noted(state_dir: str) -> None:
    """Remove what a container's directory says is its own."""
    with open(f"{state_dir}/{NOTE}", encoding="utf-8") as note:
        remove(note.read())


def lines_of(directory: str) -> Mapping[str, str]:
    """Return what a class has: {``L3``: ``0=ff;1=ff``}. The kernel pads names and numbers."""
    pairs = (line.split(":", 1) for line in files.read(f"{directory}/schemata", "").splitlines())
    return {pair[0].strip(): pair[1].replace(" ", "") for pair in pairs if len(pair) == 2}


def usage(wanted: ServiceClass, top: str) -> dict[str, Any]:
    """Return the shares and counters of a class, in the shape of runc's ``types.IntelRdt``."""
    found: dict[str, Any] = {}
    for suffix, directory in (("_root", top), ("", wanted.directory)):
        for name, share in lines_of(directory).items():
            if name in _SCHEMAS:
                found[_SCHEMAS[name] + suffix] = f"{name}:{share}"
    for kind, names in _COUNTERS.items():
        if counted := _counters(f"{wanted.monitor or wanted.directory}/mon_data", names):
            found[kind] = counted
    return found


def _counters(domains: str, names: tuple[str, ...]) -> list[dict[str, int]]:
    """Return a set of counters for each domain that has them."""
    try:
        held = [f"{domains}/{name}" for name in sorted(os.listdir(domains))]
    except FileNotFoundError:  # this processor counts nothing
        return []
    return [
        {name: files.read_number(f"{domain}/{name}") for name in names}
        for domain in held
        if os.path.exists(f"{domain}/{names[0]}")
    ]


def _compare(wanted: ServiceClass) -> None:
    """Refuse a class that means something else to those who are in it already."""
    have = lines_of(wanted.directory)
    for line in wanted.lines:
        name, _, shares = line.partition(":")
        told = dict(part.split("=", 1) for part in have.get(name.strip(), "").split(";") if part)
        for domain, _, share in (part.partition("=") for part in shares.strip().split(";")):
            if not _same(told.get(domain.strip(), ""), share.strip()):
                raise StateError(
                    f"intelRdt: {wanted.directory} has {have.get(name.strip(), 'nothing')} "
                    f"for {name}, not {shares}",
                    hint="choose another closID, or leave the schemata out to share this class",
                )


def _same(one: str, other: str) -> bool:
    """Compare two shares: masks are hexadecimal, with or without leading zeros."""
    return one.lstrip("0").lower() == other.lstrip("0").lower()


def _make_directory(path: str) -> None:
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        return
    except OSError as error:
        full = error.errno == errno.ENOSPC
        raise HostError(
            f"intelRdt: mkdir({path!r}): {errno.errorcode[error.errno or errno.EIO]}",
            hint="the processor has no class left: let containers share one by its closID"
            if full
            else "only root may make classes",
        ) from error
