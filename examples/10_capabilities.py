"""10 Root's power in 41 pieces.

Idea: what root may do is cut into capabilities, and a process holds five sets of them. Effective
    counts now; permitted may be made effective; inheritable and ambient pass through execve;
    bounding is the most that execve can give. And it gives: a set-uid file, or any that uid 0 runs.
Run: python examples/10_capabilities.py
Look: dropped, and back after execve; then not back, for two reasons.
Break it: as real root, without become_root(): keep() and then os.setuid(1) is EPERM: user first.
Real world: minirun/steps/identity.py (SetIdentity); runc: libcontainer/capabilities
man: capabilities(7), "Transformation of capabilities during execve()"; prctl(2)
"""

from __future__ import annotations

from stage import become_root, in_child

from minirun import kernel
from minirun.capabilities import BITS, names
from minirun.flags import PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS


def after_execve() -> None:
    """Become a program that tells its own effective set."""
    kernel.execve_later("/bin/sh", ("sh", "-c", "grep CapEff /proc/self/status"), ())()


def keep() -> None:
    """Keep nothing in the three classic sets."""
    kernel.capset(0, 0, 0)


def bound(*kept: str) -> None:
    """Drop all other capabilities from the bounding set; no way leads back."""
    for name in names(kernel.capget()[1]):
        if name not in kept:
            kernel.prctl(PR_CAPBSET_DROP, BITS[name])


def only_dropped() -> None:
    """Drop, and trust that it lasts."""
    with open("/proc/self/status") as status:
        print("five sets:", *[line.split(":")[0] for line in status if line.startswith("Cap")])
        # expect: five sets: CapInh CapPrm CapEff CapBnd CapAmb
    keep()
    print(f"dropped: {kernel.capget()}", flush=True)
    # expect: dropped: (0, 0, 0)
    after_execve()
    # expect: CapEff:	…ffffffffff


def also_bounded() -> None:
    """Drop from the bounding set too: execve has nothing else to give."""
    bound("CAP_CHOWN", "CAP_KILL")
    keep()
    after_execve()
    # expect: CapEff:	0000000000000021


def also_promised() -> None:
    """Let the kernel promise that no execve adds anything."""
    kernel.prctl(PR_SET_NO_NEW_PRIVS, 1)
    keep()
    after_execve()
    # expect: CapEff:	0000000000000000


become_root()
in_child(only_dropped)
in_child(also_bounded)
in_child(also_promised)
