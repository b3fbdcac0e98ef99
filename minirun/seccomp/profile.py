"""Docker's profile files → ``linux.seccomp`` of config.json.

A profile file is config.json's object with conditions: a rule can be for some architectures, from
some kernel version on, or only with (without) some capability. ``resolve`` decides them for one
container. Other engines' files work too: podman's spell errnos by name.

    >>> profile = parse('{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}', "p.json")
    >>> resolve(profile, [], "x86_64", "6.1").default_action
    'SCMP_ACT_ALLOW'

``default.json`` is ours. It has the effect of Docker's, ordered by purpose.

Pure but for reading ``default.json``. Next: ``words.py``.
"""

from __future__ import annotations

from ..decode import decode
from ..errors import HostError, SpecError, UsageError
from ..record import Record
from ..spec import Seccomp, SeccompArg, SyscallRule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from ..decode import U32

DEFAULT_FILE = __file__.rpartition("/")[0] + "/default.json"

#: Machine as in uname(2): (the name in ``arches``, which is Go's; the name in ``archMap``).
_MACHINES = {
    "x86_64": ("amd64", "SCMP_ARCH_X86_64"),
    "aarch64": ("arm64", "SCMP_ARCH_AARCH64"),
}


class Condition(Record):
    """``caps`` must all be kept (any, in ``excludes``); ``min_kernel`` is like 4.8."""

    caps: tuple[str, ...] = ()
    arches: tuple[str, ...] = ()
    min_kernel: str = ""


class ProfileRule(Record):
    """A rule of config.json with conditions; ``name`` and ``errno`` are older spellings."""

    action: str
    names: tuple[str, ...] = ()
    name: str = ""
    errno_ret: U32 | None = None
    errno: str = ""
    args: tuple[SeccompArg, ...] = ()
    includes: Condition = Condition()
    excludes: Condition = Condition()


class ArchMap(Record):
    """A machine, and the other architectures whose programs it can run."""

    architecture: str
    sub_architectures: tuple[str, ...] = ()


class Profile(Record):
    """A profile file."""

    default_action: str
    default_errno_ret: U32 | None = None
    default_errno: str = ""
    architectures: tuple[str, ...] = ()
    arch_map: tuple[ArchMap, ...] = ()
    flags: tuple[str, ...] | None = None
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: tuple[ProfileRule, ...] = ()


def default_profile() -> Profile:
    """Return the profile that a container gets unless it asks for another."""
    with open(DEFAULT_FILE, encoding="utf-8") as file:
        return parse(file.read(), DEFAULT_FILE)


def parse(text: str | bytes, source: str) -> Profile:
    """Return the profile in a JSON text.

    Args:
        text: the content of the file.
        source: its name, for errors.

    Raises:
        UsageError: it is not JSON, or not a profile; names the JSON path.
    """
    import json

    try:
        profile = decode(Profile, json.loads(text))
    except ValueError as error:
        hint = "a profile is written as docker's are, in JSON"
        raise UsageError(f"{source}: not a JSON file: {error}", hint=hint) from error
    except SpecError as error:
        raise UsageError(error.message.replace("config.json", source, 1)) from error
    if profile.architectures and profile.arch_map:
        problem = "$.architectures and $.archMap exclude each other"
        raise UsageError(f"{source}: {problem}", hint="keep archMap: it fits every machine")
    return profile


def resolve(profile: Profile, capabilities: Collection[str], machine: str, release: str) -> Seccomp:
    """Return what the profile means for one container.

    Args:
        profile: from ``parse`` or ``default_profile``.
        capabilities: the bounding set, as names like ``CAP_SYS_ADMIN``.
        machine: as uname(2) says: ``x86_64`` or ``aarch64``.
        release: the kernel's, as uname(2) says: ``6.1.0-13-amd64``.

    Raises:
        HostError: the machine is not supported.
        UsageError: the profile contradicts itself; names the JSON path.
    """
    if machine not in _MACHINES:
        raise HostError(f"no seccomp profile for {machine}", hint=f"use {' or '.join(_MACHINES)}")
    arch, native = _MACHINES[machine]
    host = (set(capabilities), arch, _version(release, "uname"))
    rules = [
        _rule(rule, f"$.syscalls[{i}]")
        for i, rule in enumerate(profile.syscalls)
        if _applies(rule, f"$.syscalls[{i}]", *host)
    ]
    return Seccomp(
        default_action=profile.default_action,
        default_errno_ret=_errno(
            profile.default_errno_ret, profile.default_errno, "$.defaultErrno"
        ),
        architectures=_architectures(profile, native),
        flags=profile.flags,
        listener_path=profile.listener_path,
        listener_metadata=profile.listener_metadata,
        syscalls=tuple(rules),
    )


def _architectures(profile: Profile, native: str) -> tuple[str, ...]:
    for entry in profile.arch_map:
        if entry.architecture == native:
            return (native, *entry.sub_architectures)
    return profile.architectures


def _rule(rule: ProfileRule, path: str) -> SyscallRule:
    if bool(rule.name) == bool(rule.names):
        raise UsageError(f"seccomp profile: {path}.names: give names, or one name")
    number = _errno(rule.errno_ret, rule.errno, f"{path}.errno")
    return SyscallRule(rule.names or (rule.name,), rule.action, number, rule.args)


def _applies(
    rule: ProfileRule, path: str, kept: set[str], arch: str, kernel: tuple[int, int]
) -> bool:
    """Return True where every condition of ``includes`` holds and none of ``excludes``."""
    wanted, unwanted = rule.includes, rule.excludes
    if not kept.issuperset(wanted.caps) or not kept.isdisjoint(unwanted.caps):
        return False
    if (wanted.arches and arch not in wanted.arches) or arch in unwanted.arches:
        return False
    if wanted.min_kernel and kernel < _version(wanted.min_kernel, f"{path}.includes.minKernel"):
        return False
    oldest = unwanted.min_kernel
    return not (oldest and kernel >= _version(oldest, f"{path}.excludes.minKernel"))


def _version(text: str, path: str) -> tuple[int, int]:
    """Return (major, minor) of a version like 4.8 or 6.1.0-13-amd64."""
    major, _, rest = text.partition(".")
    minor = rest.partition(".")[0].partition("-")[0]
    if not (major.isdecimal() and minor.isdecimal()):
        raise UsageError(f"seccomp profile: {path}: {text!r} is not a version like 4.8")
    return int(major), int(minor)


def _errno(number: int | None, name: str, path: str) -> int | None:
    """Return the number; podman's files give the name beside it, or instead."""
    if number is not None or not name:
        return number
    import errno

    found: int | None = getattr(errno, name, None)
    if found is None:
        raise UsageError(f"seccomp profile: {path}: unknown error {name!r}")
    return found
