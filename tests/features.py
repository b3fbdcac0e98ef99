"""What this host can do, found out by doing it.

A test names the features it needs, ``@pytest.mark.requires("overlay", "seccomp")``, and runs only
where a probe has just made the real thing work. "Am I root" answers none of these questions: a
root without cgroup v2 is as common as a user with user namespaces.

A probe returns "" where the feature works, else one line that says what is missing. Probes change
only namespaces of their own; the two that cannot (a cgroup, a link) take away what they made.

A claim is the cheap second witness: what the kernel's own listings promise. Under ``CI=true`` a
feature that is claimed and does not work is a failure, so a broken probe cannot hide a test.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CAP_NET_ADMIN = 12
CAP_SYS_ADMIN = 21
APPARMOR = Path("/sys/kernel/security/apparmor")

_SECCOMP = """
import pyseccomp
allow = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
allow.add_rule(pyseccomp.ERRNO(1), "swapon")
allow.load()
"""
_OVERLAY = """
mount -t tmpfs none /mnt && cd /mnt && mkdir lower upper work merged &&
mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work none merged
"""
_NFTABLES = """
table ip minirun_probe {
  chain out { type nat hook postrouting priority 100; oifname "x" masquerade; }
}
"""


@dataclass(frozen=True)
class Feature:
    """One capability of the host.

    Args:
        probe: tries it; "" where it works, else what is missing.
        claimed: True where this host promises it.
    """

    probe: Callable[[], str]
    claimed: Callable[[], bool]


def missing(name: str) -> str:
    """Return "" where the feature works here, else one line that names what is missing."""
    problem = _probe_once(name)
    return f"{name}: {problem}" if problem else ""


def claimed(name: str) -> bool:
    """Return True where this host promises the feature, whatever the probe found."""
    return FEATURES[name].claimed()


@functools.cache
def _probe_once(name: str) -> str:
    return FEATURES[name].probe()


# ---- probes -------------------------------------------------------------------------------------


def _attempt(*argv: str, stdin: str = "") -> str:
    """Run a command; "" where it exits 0, else its last line."""
    if shutil.which(argv[0]) is None:
        return f"no {argv[0]} in PATH"
    done = subprocess.run(
        argv, input=stdin, capture_output=True, text=True, timeout=30, check=False
    )
    if done.returncode == 0:
        return ""
    said = (done.stderr or done.stdout).strip().splitlines()
    return said[-1] if said else f"{argv[0]} exited {done.returncode}"


def _isolated(*argv: str, stdin: str = "") -> str:
    """Run a command in new mount and network namespaces, with a user namespace where not root."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return _attempt("unshare", *user, "--mount", "--net", *argv, stdin=stdin)


def _root() -> str:
    return "" if os.geteuid() == 0 else f"running as uid {os.geteuid()}"


def _userns() -> str:
    return _attempt("unshare", "--user", "--map-root-user", "true")


def _seccomp() -> str:
    return _attempt(sys.executable, "-c", _SECCOMP)


def _net_admin() -> str:
    """Make and remove a bridge among the host's links: being root in a container is not enough."""
    link = f"minirun-p{os.getpid() % 10000}"
    problem = _attempt("ip", "link", "add", link, "type", "bridge")
    return problem or _attempt("ip", "link", "delete", link)


def _cgroup(mountpoint: Path | None) -> str:
    """Make and remove a group beside the ones minirun makes."""
    if mountpoint is None:
        return "no such hierarchy with memory and pids in /proc/self/mounts"
    group = mountpoint / "minirun" / f"probe-{os.getpid()}"
    try:
        group.mkdir(parents=True)
        group.rmdir()
    except OSError as error:
        return str(error)
    if not any(child.is_dir() for child in group.parent.iterdir()):
        group.parent.rmdir()
    return ""


def _pasta() -> str:
    """Look for its program, and for the default route without which it refuses to start."""
    routes = Path("/proc/net/route").read_text().splitlines()
    if not any(line.split()[1] == "00000000" for line in routes):
        return "no default route"
    return "" if shutil.which("pasta") else "no pasta in PATH"


def _systemd() -> str:
    """Ask the manager over D-Bus, as the systemd cgroup driver does."""
    return _attempt("busctl", "status", "org.freedesktop.systemd1")


def _apparmor() -> str:
    if not (APPARMOR / "profiles").exists():
        return f"no {APPARMOR}/profiles: it is not enabled, or securityfs is not mounted"
    return _attempt("apparmor_parser", "--version")


def cgroup1_mount(controller: str) -> Path | None:
    """Return where a v1 controller is mounted, or None."""
    return _mounted("cgroup", lambda _, options: controller in options)


def cgroup2_mount() -> Path | None:
    """Return where a cgroup2 hierarchy that has memory and pids is mounted, or None."""
    return _mounted("cgroup2", lambda where, _: {"memory", "pids"} <= _controllers(where))


def _controllers(where: Path) -> set[str]:
    return set((where / "cgroup.controllers").read_text().split())


def _mounted(kind: str, accept: Callable[[Path, list[str]], bool]) -> Path | None:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, found, options, *_ = line.split()
        if found == kind and accept(Path(where), options.split(",")):
            return Path(where)
    return None


# ---- claims -------------------------------------------------------------------------------------


def _always() -> bool:
    """Claim what `make test` itself installs."""
    return True


def _is_root() -> bool:
    return os.geteuid() == 0


def _capable(bit: int) -> bool:
    status = Path("/proc/self/status").read_text()
    effective = next(line for line in status.splitlines() if line.startswith("CapEff"))
    return bool(int(effective.split()[1], 16) >> bit & 1)


def _number(path: str) -> int:
    file = Path(path)
    return int(file.read_text()) if file.exists() else 0


def _never() -> bool:
    """Claim nothing: whoever wants it asks for it."""
    return False


def _tool(name: str, *, option: str = "--version", claim: Callable[[], bool] = _always) -> Feature:
    return Feature(lambda: _attempt(name, option), claim)


def _installed(name: str) -> Feature:
    """Ask for no version: not every program has one to tell."""
    return Feature(lambda: "" if shutil.which(name) else f"no {name} in PATH", _always)


def _module(name: str) -> Feature:
    return Feature(lambda: _attempt(sys.executable, "-m", name, "--version"), _always)


FEATURES: dict[str, Feature] = {
    "root": Feature(_root, _is_root),
    "userns": Feature(_userns, lambda: _number("/proc/sys/user/max_user_namespaces") > 0),
    "overlay": Feature(
        lambda: _isolated("sh", "-ec", _OVERLAY),
        lambda: _capable(CAP_SYS_ADMIN) and "\toverlay\n" in Path("/proc/filesystems").read_text(),
    ),
    "seccomp": Feature(_seccomp, lambda: Path("/proc/sys/kernel/seccomp/actions_avail").exists()),
    "net_admin": Feature(_net_admin, lambda: _capable(CAP_NET_ADMIN)),
    "nftables": Feature(
        lambda: _isolated("nft", "-f", "-", stdin=_NFTABLES), lambda: _capable(CAP_NET_ADMIN)
    ),
    "cgroup1": Feature(
        lambda: _cgroup(cgroup1_mount("memory")),
        lambda: _is_root() and cgroup1_mount("memory") is not None,
    ),
    "cgroup2": Feature(
        lambda: _cgroup(cgroup2_mount()), lambda: _is_root() and cgroup2_mount() is not None
    ),
    # Either version: for what a container must do on both.
    "cgroups": Feature(
        lambda: _cgroup(cgroup2_mount() or cgroup1_mount("memory")),
        lambda: _is_root() and (cgroup2_mount() or cgroup1_mount("memory")) is not None,
    ),
    "systemd": Feature(_systemd, lambda: _is_root() and Path("/run/systemd/system").is_dir()),
    "systemd-analyze": _tool("systemd-analyze", claim=_never),
    "apparmor": Feature(_apparmor, lambda: _is_root() and (APPARMOR / "profiles").exists()),
    "timens": Feature(
        lambda: _attempt("unshare", "--time", "--monotonic", "1", "true"),
        lambda: _capable(CAP_SYS_ADMIN) and Path("/proc/self/ns/time").exists(),
    ),
    "kvm": Feature(
        lambda: "" if os.access("/dev/kvm", os.R_OK | os.W_OK) else "no usable /dev/kvm",
        _never,
    ),
    "ruff": _module("ruff"),
    "mypy": _module("mypy"),
    "busybox": _tool("busybox", option="--help"),
    "strace": _tool("strace"),
    "runc": _tool("runc"),
    "crun": _tool("crun"),
    "docker": _tool("dockerd"),
    "containerd": _tool("containerd"),
    "podman": _tool("podman"),
    "newuidmap": _installed("newuidmap"),
    "pasta": Feature(_pasta, _never),
    "slirp4netns": _tool("slirp4netns"),
    "criu": Feature(lambda: _attempt("criu", "check"), _never),
    "buildah": _tool("buildah"),
    "skopeo": _tool("skopeo"),
    "umoci": _tool("umoci"),
    "haproxy": _tool("haproxy", option="-v"),
    "docker-registry": _tool("docker-registry", option="--version"),
    "chromium": _installed("chromium"),
    "qemu": _tool("qemu-system-x86_64", claim=_never),
    "mmdebstrap": _tool("mmdebstrap", claim=_never),
}
