"""Profile files: conditions, errors, and the default one against another engine's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from minirun.capabilities import CAPABILITIES, DEFAULT
from minirun.errors import HostError, UsageError
from minirun.seccomp.profile import Profile, default_profile, parse, resolve
from minirun.spec import Seccomp, SeccompArg, SyscallRule

CONTAINERS_COMMON = Path("/usr/share/containers/seccomp.json")


def profile_of(*rules: dict[str, Any], **more: object) -> Profile:
    text = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": list(rules), **more}
    return parse(json.dumps(text), "p.json")


def names_for(profile: Profile, *caps: str, machine: str = "x86_64", kernel: str = "6.1") -> str:
    found = resolve(profile, caps, machine, kernel)
    return " ".join(name for rule in found.syscalls for name in rule.names)


def rule(call: str, **conditions: object) -> dict[str, Any]:
    return {"names": [call], "action": "SCMP_ACT_ALLOW", **conditions}


# ---- conditions ---------------------------------------------------------------------------------


def test_resolve_needs_every_included_capability() -> None:
    profile = profile_of(rule("bpf", includes={"caps": ["CAP_BPF", "CAP_PERFMON"]}))
    assert names_for(profile, "CAP_BPF") == ""
    assert names_for(profile, "CAP_BPF", "CAP_PERFMON") == "bpf"


def test_resolve_drops_a_rule_for_any_excluded_capability() -> None:
    profile = profile_of(rule("clone", excludes={"caps": ["CAP_SYS_ADMIN", "CAP_BPF"]}))
    assert names_for(profile) == "clone"
    assert names_for(profile, "CAP_BPF") == ""


def test_resolve_reads_architectures_by_gos_names() -> None:
    profile = profile_of(
        rule("arch_prctl", includes={"arches": ["amd64", "x32"]}),
        rule("set_tls", excludes={"arches": ["amd64"]}),
    )
    assert names_for(profile, machine="x86_64") == "arch_prctl"
    assert names_for(profile, machine="aarch64") == "set_tls"


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [("4.7.99", "old"), ("4.8.0-1-amd64", "ptrace"), ("4.19", "ptrace"), ("10.0-rc1", "ptrace")],
)
def test_resolve_compares_kernel_versions_as_numbers(kernel: str, expected: str) -> None:
    profile = profile_of(
        rule("ptrace", includes={"minKernel": "4.8"}), rule("old", excludes={"minKernel": "4.8"})
    )
    assert names_for(profile, kernel=kernel) == expected


def test_resolve_takes_the_machines_line_of_the_archmap() -> None:
    lines = [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": None},
    ]
    profile = profile_of(archMap=lines)
    x86 = resolve(profile, [], "x86_64", "6.1").architectures
    assert x86 == ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86")
    assert resolve(profile, [], "aarch64", "6.1").architectures == ("SCMP_ARCH_AARCH64",)


def test_resolve_keeps_errno_arguments_flags_and_listener() -> None:
    """The spellings of podman's files count too: errno by name, and one name."""
    profile = profile_of(
        {
            "name": "socket",
            "action": "SCMP_ACT_ERRNO",
            "errno": "EINVAL",
            "args": [{"index": 0, "value": 16, "op": "SCMP_CMP_EQ"}],
        },
        defaultErrno="ENOSYS",
        flags=["SECCOMP_FILTER_FLAG_LOG"],
        listenerPath="/run/agent.sock",
    )
    argument = SeccompArg(0, 16, "SCMP_CMP_EQ")
    assert resolve(profile, [], "x86_64", "6.1") == Seccomp(
        "SCMP_ACT_ERRNO",
        38,
        flags=("SECCOMP_FILTER_FLAG_LOG",),
        listener_path="/run/agent.sock",
        syscalls=(SyscallRule(("socket",), "SCMP_ACT_ERRNO", 22, (argument,)),),
    )


# ---- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "p.json: not a JSON file"),
        ("[]", r"p.json: \$: expected an object"),
        ('{"syscalls": []}', r"p.json: \$.defaultAction: required"),
        (
            '{"defaultAction": "x", "syscalls": [{"names": ["a"]}]}',
            r"p.json: \$.syscalls\[0\].action: required",
        ),
        (
            '{"defaultAction": "x", "syscalls": [{"action": "y", "includes": {"caps": 1}}]}',
            r"p.json: \$.syscalls\[0\].includes.caps: expected an array",
        ),
        (
            '{"defaultAction": "x", "architectures": ["a"], "archMap": [{"architecture": "b"}]}',
            "exclude each other",
        ),
    ],
)
def test_parse_names_the_file_and_the_path(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        parse(text, "p.json")


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (rule("a", includes={"minKernel": "new"}), r"syscalls\[0\].includes.minKernel: 'new'"),
        (rule("a", excludes={"minKernel": "5"}), r"syscalls\[0\].excludes.minKernel: '5'"),
        (rule("a", errno="EGREGIOUS"), r"syscalls\[0\].errno: unknown error 'EGREGIOUS'"),
        (rule("a", name="b"), r"syscalls\[0\].names: give names, or one name"),
    ],
)
def test_resolve_names_the_path(bad: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        resolve(profile_of(bad), [], "x86_64", "6.1")


def test_resolve_refuses_a_machine_it_has_no_names_for() -> None:
    with pytest.raises(HostError, match="no seccomp profile for vax") as caught:
        resolve(profile_of(), [], "vax", "6.1")
    assert caught.value.hint == "use x86_64 or aarch64"


# ---- the default profile ------------------------------------------------------------------------


def allowed(profile: Profile, caps: tuple[str, ...], machine: str = "x86_64") -> set[str]:
    """Return the calls that are allowed for some arguments."""
    found = resolve(profile, caps, machine, "6.1").syscalls
    return {name for r in found if r.action == "SCMP_ACT_ALLOW" for name in r.names}


def always_allowed(profile: Profile, caps: tuple[str, ...]) -> set[str]:
    found = resolve(profile, caps, "x86_64", "6.1").syscalls
    return {n for r in found if r.action == "SCMP_ACT_ALLOW" and not r.args for n in r.names}


#: podman's profile relies on the kernel's own permission checks for these; Docker's and ours
#: keep unprivileged code away from that code, which has had holes.
PODMAN_ADMIN = set(
    "clone3 fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree pidfd_getfd "
    "pivot_root reboot setns syslog umount umount2 unshare get_mempolicy mbind set_mempolicy "
    "keyctl".split()
)
#: Calls that no current kernel and libc make; podman carries their names along.
PODMAN_OBSOLETE = set(
    "readdir sigaction signal sigpending sigsuspend syscall timerfd query_module".split()
)
#: Docker's (and our) list is of 2026, the packaged one may be of 2022 and know none of these.
NEWER = set(
    "cachestat fchmodat2 futex_requeue futex_wait futex_waitv futex_wake getxattrat "
    "io_pgetevents_time64 listmount listxattrat map_shadow_stack mseal removexattrat riscv_hwprobe "
    "setxattrat statmount uretprobe set_mempolicy_home_node quotactl_fd "
    "lsm_get_self_attr lsm_list_modules lsm_set_self_attr".split()
)
#: Harmless, and used by databases and pipes; podman denies them by name.
OURS = set("io_pgetevents vmsplice".split())

CAPABILITY_SETS = {
    "default": DEFAULT,
    "none": (),
    "admin": (*DEFAULT, "CAP_SYS_ADMIN"),
    "ptrace": ("CAP_SYS_PTRACE",),
    "boot, nice, log": ("CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYSLOG"),
    "time": ("CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_SYS_RAWIO", "CAP_SYS_PACCT"),
    "modules": ("CAP_SYS_MODULE", "CAP_DAC_READ_SEARCH", "CAP_SYS_CHROOT"),
    "all": tuple(CAPABILITIES),
}


@pytest.mark.requires("podman")
@pytest.mark.parametrize("caps", CAPABILITY_SETS.values(), ids=CAPABILITY_SETS.keys())
def test_default_profile_differs_from_podmans_only_for_a_reason(caps: tuple[str, ...]) -> None:
    theirs = allowed(parse(CONTAINERS_COMMON.read_text(), "podman's"), caps)
    ours = allowed(default_profile(), caps)
    assert theirs - ours <= PODMAN_ADMIN | PODMAN_OBSOLETE
    # Podman asks for CAP_SYS_ADMIN alone where Docker also accepts the younger, smaller one.
    smaller = {"bpf", "perf_event_open"}
    assert ours - theirs <= NEWER | OURS | smaller


@pytest.mark.parametrize(
    ("capability", "gained"),
    [
        ("CAP_BPF", "bpf"),
        ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
        ("CAP_PERFMON", "perf_event_open"),
        ("CAP_SYSLOG", "syslog"),
        ("CAP_SYS_BOOT", "reboot"),
        ("CAP_SYS_CHROOT", "chroot"),
        ("CAP_SYS_MODULE", "delete_module finit_module init_module"),
        ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
        ("CAP_SYS_PACCT", "acct"),
        ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
        ("CAP_SYS_RAWIO", "ioperm iopl"),
        ("CAP_SYS_TIME", "clock_settime clock_settime64 settimeofday stime"),
        ("CAP_SYS_TTY_CONFIG", "vhangup"),
        ("CAP_NET_ADMIN", ""),
    ],
)
def test_default_profile_gives_each_capability_its_calls(capability: str, gained: str) -> None:
    nobody = allowed(default_profile(), ())
    assert allowed(default_profile(), (capability,)) - nobody == set(gained.split())


def test_default_profile_lets_an_administrator_make_namespaces() -> None:
    nobody = always_allowed(default_profile(), ())
    admin = always_allowed(default_profile(), ("CAP_SYS_ADMIN",))
    assert {"clone", "clone3", "unshare", "setns", "mount"} <= admin - nobody


def test_default_profile_never_allows_what_docker_never_allows() -> None:
    never = "keyctl add_key request_key io_uring_setup userfaultfd kexec_load swapon nfsservctl"
    assert not allowed(default_profile(), tuple(CAPABILITIES)) & set(never.split())


def test_default_profile_names_no_call_twice() -> None:
    plain = [r for r in default_profile().syscalls if not (r.args or r.includes.caps)]
    unconditional = [r for r in plain if not (r.includes.arches or r.includes.min_kernel)]
    found = [name for r in unconditional for name in r.names]
    assert sorted(found) == sorted(set(found))
    assert len(found) == 362  # 361 allowed everywhere, and clone3's ENOSYS


def test_default_profile_knows_the_calls_of_arm() -> None:
    assert {"set_tls", "cacheflush"} <= allowed(default_profile(), (), "aarch64")
    assert "arch_prctl" not in allowed(default_profile(), (), "aarch64")
