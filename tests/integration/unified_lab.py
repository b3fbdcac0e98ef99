"""One bundle on cgroup v2 and the containers made of it, through runc's command line."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minirun.host import probe
from tests.security.lab import APPLETS, default_config

RUNTIME = Path(sys.executable).parent / "minirun-oci"
MAPPINGS = [{"containerID": 0, "hostID": 100000, "size": 65536}]
Json = dict[str, Any]


@dataclass(frozen=True)
class Done:
    code: int
    stdout: str
    stderr: str


class Lab:
    """One bundle, and the containers made of it."""

    def __init__(self, bundle: Path, state_root: Path, manager: str = "cgroupfs") -> None:
        self.bundle = bundle
        self.runtime = [str(RUNTIME), "--root", str(state_root), "--cgroup-manager", manager]
        self.config = default_config()
        self.linux: Json = self.config["linux"]
        self.linux["cgroupsPath"] = f"minirun/unified-{os.getpid()}"
        self.linux["namespaces"].append({"type": "cgroup"})

    @property
    def group(self) -> Path:
        tree = probe().cgroup2
        assert tree is not None
        return Path(tree.base, self.linux["cgroupsPath"])

    def script(self, text: str) -> None:
        self.config["process"]["args"] = ["/bin/sh", "-c", text]

    def mount_cgroup(self, *options: str) -> None:
        self.config["mounts"].append(
            {
                "destination": "/sys/fs/cgroup",
                "type": "cgroup",
                "source": "cgroup",
                "options": ["nosuid", "noexec", "nodev", *options],
            }
        )

    def user_namespace(self) -> None:
        self.linux["namespaces"].append({"type": "user"})
        self.linux["uidMappings"] = self.linux["gidMappings"] = MAPPINGS
        self.config["mounts"] = [m for m in self.config["mounts"] if m["type"] != "sysfs"]
        for path in (self.bundle / "rootfs", *(self.bundle / "rootfs").rglob("*")):
            os.chown(path, 100000, 100000, follow_symlinks=False)

    def call(self, *words: str, check: bool = True) -> Done:
        (self.bundle / "config.json").write_text(json.dumps(self.config))
        argv = [*self.runtime, *words]
        # A file and no pipe: what a created container inherits stays open as long as it lives.
        with (self.bundle / "out").open("w+") as out, (self.bundle / "err").open("w+") as err:
            code = subprocess.call(argv, cwd=self.bundle, stdout=out, stderr=err, timeout=120)
            done = Done(code, *((self.bundle / name).read_text() for name in ("out", "err")))
        assert done.code == 0 or not check, done.stderr
        return done

    def run(self, text: str) -> str:
        self.script(text)
        return self.call("run", "c").stdout

    def start(self, text: str) -> None:
        self.script(text)
        self.call("run", "--detach", "c")

    def status(self) -> str:
        found: str = json.loads(self.call("state", "c").stdout)["status"]
        return found

    def read(self, file: str) -> str:
        return (self.group / file).read_text().strip()


@contextlib.contextmanager
def laboratory(state_root: Path, data_root: Path, manager: str = "cgroupfs") -> Iterator[Lab]:
    """Give a lab, and see that its container and group are gone in the end."""
    folder = Path(tempfile.mkdtemp(prefix="unified-", dir=data_root))
    folder.chmod(0o711)
    rootfs = folder / "rootfs"
    for name in ("bin", "dev", "proc", "sys/fs/cgroup", "tmp"):
        (rootfs / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "busybox", rootfs / "bin/busybox")
    for name in (*APPLETS.split(), "mknod", "kill", "find"):
        (rootfs / "bin" / name).symlink_to("busybox")
    made = Lab(folder, state_root, manager)
    group = made.group
    yield made
    made.call("delete", "--force", "c", check=False)
    shutil.rmtree(folder)
    assert not group.exists()


def wait_for(condition: Callable[[], bool]) -> None:
    while not condition():
        os.sched_yield()
