"""--device, --device-cgroup-rule, and the per-device block I/O limits.

A flag names a device by its path; the specification wants major and minor numbers. The parsers
keep the path and are pure; ``node`` looks it up on this host when a container is made.

Next: ``security.py``.
"""

from __future__ import annotations

from ..errors import HostError, UsageError
from ..record import Record
from ..spec import Device
from ..spec_resources import DeviceRule
from .sizes import byte_size
from .words import absolute_path, integer, is_digits, no_nul

ACCESS = frozenset("rwm")


class DeviceRequest(Record):
    """A device node of the host that the container may use."""

    host_path: str
    path: str
    access: str = "rwm"


class DeviceAmount(Record):
    """A weight, or a rate in bytes or operations per second, for one block device."""

    path: str
    amount: int


def device(text: str) -> DeviceRequest:
    """Read ``host[:container][:rwm]``.

    >>> device("/dev/fuse:/dev/fuse:rw")
    DeviceRequest(host_path='/dev/fuse', path='/dev/fuse', access='rw')
    """
    host, *rest = no_nul(text, "device").split(":")
    if "=" in host and not host.startswith("/"):
        hint = "name the device's node, as in --device /dev/nvidia0"
        raise UsageError(f"CDI device {text!r} is not supported", hint=hint)
    access = "rwm"
    if rest and rest[-1] and not rest[-1].startswith("/"):
        access = _access(rest.pop(), text)
    if len(rest) > 1 or "" in rest:
        raise UsageError(f"invalid device {text!r}", hint="written host[:container][:rwm]")
    host = absolute_path(host, "device")
    return DeviceRequest(host, absolute_path(rest[0], "device") if rest else host, access)


def _access(text: str, where: str) -> str:
    if not text or set(text) - ACCESS or len(set(text)) != len(text):
        raise UsageError(f"invalid device mode in {where!r}", hint="letters of rwm, each once")
    return text


def device_rule(text: str) -> DeviceRule:
    """Read ``type major:minor access`` of --device-cgroup-rule; ``*`` is any number.

    >>> device_rule("c 1:3 mr")
    DeviceRule(allow=True, type='c', major=1, minor=3, access='mr')
    """
    words = no_nul(text, "device rule").split(" ")
    numbers = words[1].split(":") if len(words) == 3 else []
    if len(numbers) != 2 or words[0] not in ("a", "b", "c"):
        raise UsageError(f"invalid device rule {text!r}", hint="written 'c 1:3 rwm'")
    major, minor = (_device_number(part) for part in numbers)
    return DeviceRule(True, words[0], major, minor, _access(words[2], text))


def _device_number(text: str) -> int | None:
    return None if text == "*" else integer(text, "device number", 0, 2**20 - 1)


def device_bytes(text: str) -> DeviceAmount:
    """Read ``path:rate`` with a rate in bytes per second: ``/dev/sda:10mb``."""
    path, rate = _path_and_amount(text)
    return DeviceAmount(path, byte_size(rate))


def device_operations(text: str) -> DeviceAmount:
    """Read ``path:rate`` with a rate in operations per second: ``/dev/sda:1000``."""
    path, rate = _path_and_amount(text)
    return DeviceAmount(path, integer(rate, "rate", 0, 2**64 - 1))


def device_weight(text: str) -> DeviceAmount:
    """Read ``path:weight`` with a weight from 10 to 1000."""
    path, weight = _path_and_amount(text)
    return DeviceAmount(path, integer(weight, "weight", 10, 1000))


def _path_and_amount(text: str) -> tuple[str, str]:
    path, colon, amount = no_nul(text, "device limit").rpartition(":")
    if not colon or not is_digits(amount[:1]):
        raise UsageError(f"invalid device limit {text!r}", hint="written /dev/name:number")
    return absolute_path(path, "device"), amount


def node(request: DeviceRequest) -> Device:
    """Look a device up on this host.

    Raises:
        HostError: there is no such path, or it is not a device.
    """
    import os
    import stat

    try:
        found = os.stat(request.host_path)
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise HostError(
            f"device {request.host_path}: {reason}", hint="ls /dev shows what this host has"
        ) from error
    kinds = {stat.S_IFCHR: "c", stat.S_IFBLK: "b"}
    kind = kinds.get(stat.S_IFMT(found.st_mode))
    if kind is None:
        hint = f"for a file or a directory: -v {request.host_path}:{request.path}"
        raise HostError(f"device {request.host_path}: not a device node", hint=hint)
    major, minor = os.major(found.st_rdev), os.minor(found.st_rdev)
    mode = stat.S_IMODE(found.st_mode)
    return Device(kind, request.path, major, minor, mode, found.st_uid, found.st_gid)


def every_node() -> tuple[Device, ...]:
    """Return all devices below /dev but terminals and the nodes every container gets anyway."""
    import os

    found = []
    for folder, folders, names in os.walk("/dev"):
        folders[:] = [f for f in folders if f not in ("pts", "shm", "fd", "mqueue", ".lxc")]
        for path in sorted(f"{folder}/{name}" for name in names):
            if path.removeprefix("/dev/") in _ALWAYS_THERE or os.path.islink(path):
                continue
            try:
                found.append(node(DeviceRequest(path, path)))
            except HostError:
                continue  # a socket, a file, or a node that went away: not a device to pass on
    return tuple(found)


_ALWAYS_THERE = ("null", "zero", "full", "random", "urandom", "tty", "console", "ptmx")
