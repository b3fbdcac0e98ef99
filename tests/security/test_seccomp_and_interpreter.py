"""P5: the filter is loaded by an interpreter, which then lives under it for a moment.

Between seccomp(2) and execve(2) CPython itself makes system calls: memory, signals, whatever its
bytecode leads to. A profile that allows only what the program needs kills the runtime then, so
users are driven to allow more than the program needs.

Defence: everything that execve needs is made before the filter is loaded (``steps/handoff.py``,
PrepareExecve): afterwards there is execve and nothing else.
"""

from __future__ import annotations

import pytest

from minirun.plan import Plan
from tests.security.lab import Bundle, attempt, change_plan

pytestmark = pytest.mark.requires("root", "busybox", "seccomp")

#: What busybox's ``true`` needs, from its first instruction to its last, as strace(1) shows it.
PROGRAM = (
    *("execve", "brk", "arch_prctl", "set_tid_address", "set_robust_list", "rseq", "prlimit64"),
    *("readlink", "getrandom", "mprotect", "prctl", "getuid", "setuid", "setgid", "exit_group"),
)


def prepare_under_the_filter(plan: Plan) -> Plan:
    """Weaken: load the filter first, and get ready for execve then."""
    steps = list(plan.steps)
    place = next(i for i, step in enumerate(steps) if step.id == "prepare-execve")
    steps[place], steps[place + 1] = steps[place + 1], steps[place]
    return Plan(tuple(steps))


def allow_only(bundle: Bundle, *names: str, otherwise: str = "SCMP_ACT_ERRNO") -> None:
    bundle.config["linux"]["seccomp"] = {
        "defaultAction": otherwise,
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": list(names), "action": "SCMP_ACT_ALLOW"}],
    }


@pytest.mark.parametrize("otherwise", ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"])
@pytest.mark.parametrize("weak", [True, False])
def test_profile_need_not_allow_what_the_interpreter_does(
    bundle: Bundle, otherwise: str, weak: bool
) -> None:
    allow_only(bundle, *PROGRAM, otherwise=otherwise)
    bundle.run("/bin/busybox", "true")

    outcome = attempt(bundle, *([change_plan(prepare_under_the_filter)] if weak else []))

    assert (outcome.ran and outcome.exit_code == 0) != weak, outcome


def test_refused_execve_is_told(bundle: Bundle) -> None:
    """Not even that one: the error can still be told, because write is allowed here."""
    allow_only(bundle, "write", "exit_group")
    bundle.run("/bin/busybox", "true")

    outcome = attempt(bundle)

    assert 'exec: "/bin/busybox"' in outcome.error, outcome
