"""The same config under runc and under minirun-oci: what the process sees must be the same.

Configs are made at random from parts that both understand: user, groups, capabilities, rlimits,
working directory, environment, mounts, namespaces, masked and read-only paths, devices, read-only
root, oomScoreAdj, no_new_privs, hostname. A program inside prints what the kernel says about it.
The process is looked at by itself, so neither runtime is asked for its opinion.

Differences that are meant, each with its reason, are taken away by ``normal`` and named there.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.security.lab import IDENTITY_MAP, Bundle, default_config

pytestmark = pytest.mark.requires("root", "busybox", "runc", "userns")

OURS = str(Path(__file__).parents[2] / "scripts/minirun-oci")
SEEDS = range(12)
LOOK = r"""
for f in status limits uid_map gid_map setgroups cgroup mountinfo oom_score_adj; do
  echo "== $f"; cat /proc/self/$f
done
echo "== ids"; id
echo "== env"; env
echo "== cwd"; pwd; readlink /proc/self/cwd
echo "== dev"; ls -ln /dev
echo "== fds"; for fd in 0 1 2; do [ -e /proc/self/fd/$fd ] && echo $fd; done; ls /proc/1/fd
echo "== ns"; hostname; cat /proc/sys/kernel/domainname
for n in /proc/self/ns/*; do readlink $n; done
echo "== masked"; ls /sys/firmware | wc -l
for f in kcore timer_list; do head -c 1 /proc/$f | wc -c; done
echo "== written"; touch /x /work/x /tmp/x 2>&1; umask
exit $1
"""
ALL_CAPABILITIES = [
    *("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD"),
    *("CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID", "CAP_SYS_CHROOT"),
]
MASKED = ("/proc/kcore", "/proc/timer_list", "/sys/firmware")
KEPT = ("Umask", "Uid", "Gid", "Groups", "NoNewPrivs", "Seccomp", "SigBlk", "SigIgn", "SigCgt")


def random_config(seed: int, volume: Path) -> dict[str, Any]:
    """Return a valid config made of parts that both runtimes know."""
    dice = random.Random(seed)
    config = default_config()
    process, linux = config["process"], config["linux"]
    process["args"] = ["/bin/sh", "-c", LOOK, "look", str(dice.choice([0, 1, 3, 42]))]
    process["user"] = {
        "uid": dice.choice([0, 0, 1, 1000, 65534]),
        "gid": dice.choice([0, 5, 1000]),
        "additionalGids": dice.sample([1, 2, 3, 1000], dice.randint(0, 3)),
    }
    if dice.random() < 0.5:
        process["user"]["umask"] = dice.choice([0o22, 0o77, 0])
    held = dice.sample(ALL_CAPABILITIES, dice.randint(0, 8))
    process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), held)
    if dice.random() < 0.4:
        process["capabilities"] |= {"inheritable": held, "ambient": held[:2]}
    process["noNewPrivileges"] = dice.random() < 0.5
    process["cwd"] = dice.choice(["/", "/work", "/tmp", "/work/made/for/it"])
    words = ["A=1", "B=two words", "A=3", "HOME=/nowhere", "EMPTY=", "TERM=xterm", "X==="]
    process["env"] += dice.sample(words, dice.randint(0, 5))
    process["oomScoreAdj"] = dice.choice([0, 100, 1000])
    limits = dice.sample([("NOFILE", 64), ("CORE", 0), ("STACK", 1 << 20), ("NPROC", 99)], 2)
    process["rlimits"] = [
        {"type": f"RLIMIT_{name}", "soft": value, "hard": value} for name, value in limits
    ]
    _isolation(dice, linux)
    options = dice.sample(["ro", "nosuid", "nodev", "noexec", "noatime"], dice.randint(0, 3))
    if {"type": "user"} in linux["namespaces"] and "noatime" in options:
        # There runc 1.1 changes it on a mount whose atime is locked (EPERM); we clone it before.
        options.remove("noatime")
    config["mounts"] += [
        bind("/work", volume, dice.choice(["bind", "rbind"]), *options),
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs",
         "options": ["mode=1777", *dice.sample(["nosuid", "nodev", "size=64k"], 2)]},
    ]  # fmt: skip
    config["root"]["readonly"] = dice.random() < 0.5
    return config


def bind(destination: str, source: Path, *options: str) -> dict[str, Any]:
    return {
        "destination": destination,
        "type": "bind",
        "source": str(source),
        "options": list(options),
    }


def _isolation(dice: random.Random, linux: dict[str, Any]) -> None:
    if dice.random() < 0.4:
        linux["namespaces"].append({"type": "user"})
        linux["uidMappings"] = linux["gidMappings"] = IDENTITY_MAP
    if dice.random() < 0.5:
        linux["namespaces"].append({"type": "cgroup"})
    if dice.random() < 0.7:
        linux["maskedPaths"] = [*MASKED, "/missing"]
        linux["readonlyPaths"] = ["/proc/sys", "/proc/bus", "/missing"]
    if dice.random() < 0.5:
        node = {"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229, "fileMode": 0o666}
        if {"type": "user"} not in linux["namespaces"]:
            linux["devices"] = [{**node, "uid": 0, "gid": 0}]


def look(program: str, bundle: Bundle, name: str) -> tuple[int, dict[str, str]]:
    """Run the bundle; return the exit code and what was said, by section."""
    root = bundle.state_root if program == OURS else bundle.path / "runc"
    bundle.config["linux"]["cgroupsPath"] = f"/minirun/{name}"
    (bundle.path / "config.json").write_text(json.dumps(bundle.config))
    done = subprocess.run(
        [program, "--root", str(root), "run", "--bundle", str(bundle.path), name],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    parts = re.split(r"(?m)^== (\w+)\n", done.stdout.replace(name, "NAME"))
    said = dict(zip(parts[1::2], parts[2::2], strict=True))
    return done.returncode, {"stderr": done.stderr, **said}


def normal(said: dict[str, str]) -> dict[str, Any]:
    """Return what can be compared."""
    found: dict[str, Any] = dict(said)
    lines = said.get("status", "").splitlines()
    found["status"] = [line for line in lines if line.startswith(("Cap", *KEPT))]
    found["mountinfo"] = sorted(map(_mount, said.get("mountinfo", "").splitlines()))
    # On a hybrid host runc also makes a group in the version 2 tree, where no controllers are.
    groups = said.get("cgroup", "").splitlines()
    hybrid = len(groups) > 1
    found["cgroup"] = [line for line in groups if not (hybrid and line.startswith("0::"))]
    found["env"] = sorted(said.get("env", "").splitlines())
    # The inodes of new namespaces are new: what counts is which ones are new.
    here = {os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")}
    found["ns"] = [w if w in here else w.split(":")[0] for w in said.get("ns", "").split()]
    # Sizes and times of directory entries differ; their kind, mode, owner, number and target count.
    shown = said.get("dev", "").splitlines()[1:]
    found["dev"] = sorted(re.sub(r"\s+\w{3}\s+\d+\s+[\d:]+\s+", " ", line) for line in shown)
    return found


def _mount(line: str) -> str:
    """Return place, options, type and what does not depend on who mounted it."""
    left, _, right = line.partition(" - ")
    fields, kind = left.split(), right.split()[0]
    if fields[4] in MASKED:
        # runc covers a file with the container's /dev/null (CVE-2025-31133) and a directory with a
        # tmpfs for each; we cover both from one read-only tmpfs of our own.
        return f"{fields[4]} masked"
    return f"{fields[4]} {fields[5]} {kind}"


@pytest.mark.parametrize("seed", SEEDS)
def test_process_sees_the_same(bundle: Bundle, seed: int) -> None:
    volume = bundle.path / "volume"
    (volume / "made/for/it").mkdir(parents=True)
    bundle.config = random_config(seed, volume)
    name = f"same-{os.getpid()}-{seed}"

    their_code, theirs = look("runc", bundle, name)
    our_code, ours = look(OURS, bundle, name)

    assert our_code == their_code, (seed, ours["stderr"], theirs["stderr"])
    assert ours["stderr"] == theirs["stderr"]
    mine, other = normal(ours), normal(theirs)
    for section in sorted(mine.keys() | other.keys()):
        assert mine.get(section) == other.get(section), (section, seed)
