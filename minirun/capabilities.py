"""The 41 capabilities: names, bits, what each lets root do, and which ones a container keeps.

Linux split root's power into capabilities, so that a container's root can be given a few of them. A
capability is one bit; a process holds five sets of bits (capabilities(7)). config.json spells them
by name, capset(2) and prctl(2) take numbers: this is the dictionary between the two.

    >>> hex(mask(["CAP_CHOWN", "CAP_NET_RAW"]))
    '0x2001'
    >>> select(add=["net_admin"], drop=["ALL"])
    ('CAP_NET_ADMIN',)

Pure. Next: ``seccomp/profile.py``, whose rules depend on the capabilities that are kept.
"""

from __future__ import annotations

from .errors import SpecError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

#: Name: what it permits, in the order of the bits (<linux/capability.h>).
CAPABILITIES = {
    "CAP_CHOWN": "change the owner and group of any file",
    "CAP_DAC_OVERRIDE": "ignore the permission bits of files",
    "CAP_DAC_READ_SEARCH": "read any file and directory; open files by handle",
    "CAP_FOWNER": "act as the owner of any file",
    "CAP_FSETID": "keep the set-id bits of a file that is changed",
    "CAP_KILL": "signal any process",
    "CAP_SETGID": "become any group; forge group ids on sockets",
    "CAP_SETUID": "become any user; forge user ids on sockets",
    "CAP_SETPCAP": "drop capabilities from the bounding set; add to the inheritable set",
    "CAP_LINUX_IMMUTABLE": "set the immutable and append-only attributes",
    "CAP_NET_BIND_SERVICE": "bind a port below 1024",
    "CAP_NET_BROADCAST": "broadcast and listen to multicast (unused by the kernel)",
    "CAP_NET_ADMIN": "configure interfaces, addresses, routes and the firewall",
    "CAP_NET_RAW": "open raw and packet sockets: ping, and forged packets",
    "CAP_IPC_LOCK": "lock memory, allocate huge pages",
    "CAP_IPC_OWNER": "ignore the permissions of System V IPC objects",
    "CAP_SYS_MODULE": "load and unload kernel modules",
    "CAP_SYS_RAWIO": "access I/O ports and physical memory",
    "CAP_SYS_CHROOT": "change the root directory; join a mount namespace",
    "CAP_SYS_PTRACE": "trace and read any process",
    "CAP_SYS_PACCT": "switch process accounting",
    "CAP_SYS_ADMIN": "mount, make namespaces and much else: nearly all of root",
    "CAP_SYS_BOOT": "reboot; load a new kernel",
    "CAP_SYS_NICE": "raise priorities; set the scheduling and affinity of any process",
    "CAP_SYS_RESOURCE": "exceed resource limits and quotas",
    "CAP_SYS_TIME": "set the system clock",
    "CAP_SYS_TTY_CONFIG": "configure terminals; hang them up",
    "CAP_MKNOD": "make device nodes",
    "CAP_LEASE": "take leases on any file",
    "CAP_AUDIT_WRITE": "write records to the audit log",
    "CAP_AUDIT_CONTROL": "configure the audit system",
    "CAP_SETFCAP": "give capabilities to files",
    "CAP_MAC_OVERRIDE": "override mandatory access control (Smack)",
    "CAP_MAC_ADMIN": "configure mandatory access control (Smack)",
    "CAP_SYSLOG": "read and clear the kernel's log; see kernel addresses",
    "CAP_WAKE_ALARM": "set timers that wake the machine",
    "CAP_BLOCK_SUSPEND": "keep the machine from suspending",
    "CAP_AUDIT_READ": "read the audit log over a socket",
    "CAP_PERFMON": "observe performance of the whole system",
    "CAP_BPF": "load privileged BPF programs",
    "CAP_CHECKPOINT_RESTORE": "choose process ids; read what a checkpoint needs",
}

#: Name: number of the bit.
BITS = {name: bit for bit, name in enumerate(CAPABILITIES)}

#: What Docker leaves to a container's root, in the order of the bits.
DEFAULT = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SYS_CHROOT",
    "CAP_MKNOD",
    "CAP_AUDIT_WRITE",
    "CAP_SETFCAP",
)


def mask(names: Iterable[str], path: str = "$.process.capabilities") -> int:
    """Return the set as capset(2) takes it: bit n is the capability number n.

    Args:
        names: as in config.json: ``CAP_NET_RAW``.
        path: the JSON path of the list, for the error.

    Raises:
        SpecError: a name is unknown.
    """
    bits = 0
    for index, name in enumerate(names):
        if name not in BITS:
            problem = f"unknown capability {name!r}"
            raise SpecError(f"{path}[{index}]", problem, hint=_did_you_mean(name))
        bits |= 1 << BITS[name]
    return bits


def names(bits: int) -> tuple[str, ...]:
    """Return the names in a mask; a bit that is newer than this table is ``CAP_<number>``.

    >>> names(1 << 21 | 1 << 63)
    ('CAP_SYS_ADMIN', 'CAP_63')
    """
    known = tuple(name for name, bit in BITS.items() if bits >> bit & 1)
    newer = range(len(BITS), bits.bit_length())
    return known + tuple(f"CAP_{bit}" for bit in newer if bits >> bit & 1)


def select(
    add: Iterable[str] = (), drop: Iterable[str] = (), *, privileged: bool = False
) -> tuple[str, ...]:
    """Return the capabilities of a container, by Docker's ``--cap-add`` and ``--cap-drop``.

    ``ALL`` in ``add`` is everything but what is dropped; ``ALL`` in ``drop`` is nothing but what is
    added; without either, the default set loses what is dropped and then gains what is added, so a
    capability in both lists is kept. ``privileged`` overrides both.

    Args:
        add: names in any case, with or without ``CAP_``; or ``ALL``.
        drop: the same.
        privileged: keep everything.

    Returns:
        Full names in the order of their bits.

    Raises:
        UsageError: a name is unknown.
    """
    added, dropped = _normalized("--cap-add", add), _normalized("--cap-drop", drop)
    if privileged:
        kept = set(BITS)
    elif "ALL" in added:
        kept = set(BITS) - dropped
    elif "ALL" in dropped:
        kept = added
    else:
        kept = set(DEFAULT) - dropped | added
    return tuple(name for name in BITS if name in kept)


def _normalized(option: str, given: Iterable[str]) -> set[str]:
    """Return full upper-case names, and ``ALL`` as itself."""
    found = set()
    for name in given:
        full = name.upper()
        if full != "ALL" and not full.startswith("CAP_"):
            full = f"CAP_{full}"
        if full != "ALL" and full not in BITS:
            raise UsageError(f"{option}: unknown capability {name!r}", hint=_did_you_mean(full))
        found.add(full)
    return found


def _did_you_mean(name: str) -> str:
    """Return a hint; difflib costs 5 ms and is only wanted where something went wrong."""
    from difflib import get_close_matches

    full = name.upper() if name.upper().startswith("CAP_") else f"CAP_{name.upper()}"
    close = get_close_matches(full, BITS, n=1, cutoff=0.75)
    return f"did you mean {close[0]}?" if close else "see capabilities(7) for the names"
