"""A container goes to disk and comes back, and what it was doing goes on; criu does the work."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minirun.errors import MinirunError
from minirun.oci.midway import Midway
from tests.integration.oci_lab import Runtime

pytestmark = pytest.mark.requires("root", "busybox", "cgroups")

#: Its only memory of where it is, is a variable.
COUNT = """
i=0
until [ -e /data/end ]; do
  i=$((i+1)); echo $i >>/data/log; sleep 0.1
done
echo "counted to $i"; exit 7
"""
FILTER = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
}
FACTS = "CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp Uid Gid Groups".split()


class Counter:
    """A container that counts into a directory of the host."""

    def __init__(self, oci: Runtime, folder: Path) -> None:
        self.oci = oci
        self.images = folder / "images"
        self.data = folder / "data"
        self.data.mkdir()
        self.configure()

    def configure(self, **changes: Any) -> None:  # noqa: ANN401 - any property of config.json
        """Write config.json: a read-only root, a volume of each kind, a filter."""
        self.oci.config(args=["sh", "-c", COUNT])
        path = self.oci.bundle / "config.json"
        config = json.loads(path.read_text())
        config["root"]["readonly"] = True
        volumes = (("/data", "rw"), ("/tmp", "ro"))
        config["mounts"] += [
            {"destination": at, "source": str(self.data), "options": ["bind", mode]}
            for at, mode in volumes
        ]
        config["linux"] |= {"seccomp": FILTER, "cgroupsPath": f"minirun/count-{os.getpid()}"}
        config["linux"] |= changes
        path.write_text(json.dumps(config))

    def start(self) -> int:
        """Start it, and return its pid once it counts."""
        self.oci.create("count")
        self.oci.quiet("start", "count")
        self.wait_for(3)
        return self.oci.pid("count")

    def log(self) -> list[int]:
        path = self.data / "log"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def wait_for(self, number: int) -> None:
        while not self.log() or self.log()[-1] < number:
            os.sched_yield()

    def checkpoint(self, *options: str) -> None:
        self.oci.quiet("checkpoint", "--image-path", str(self.images), *options, "count")

    def restore(self, *options: str, name: str = "count") -> subprocess.Popen[str]:
        """Start a restore; what the container says goes where this command's output goes."""
        words = ["restore", "--image-path", str(self.images), *options, name]
        return subprocess.Popen(
            [*self.oci.argv, *words], cwd=self.oci.bundle, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def restore_detached(self) -> int:
        with open(os.devnull, "r+b") as null:
            words = ["restore", "--detach", "--image-path", str(self.images), "count"]
            code = subprocess.call(
                [*self.oci.argv, *words], cwd=self.oci.bundle, stdin=null, stdout=null
            )
        assert code == 0, (self.images / "restore.log").read_text()[-4000:]
        return self.oci.pid("count")


@pytest.fixture
def counter(oci: Runtime, tmp_path: Path) -> Iterator[Counter]:
    made = Counter(oci, tmp_path)
    yield made
    oci.run("delete", "--force", "count")


def facts(pid: int) -> dict[str, str]:
    """Return what confines a process, as the kernel tells it."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return {name: status[name] for name in FACTS}


def mounts(pid: int) -> dict[str, bool]:
    """Return {mount point: whether it can be written to}."""
    found = {}
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        own, _, below = line.partition(" - ")
        point, options = own.split()[4:6]
        found[point] = "ro" not in (options.split(",")[0], below.split()[2].split(",")[0])
    return found


@pytest.mark.requires("criu")
def test_what_it_counted_goes_on_behind_the_same_walls(counter: Counter) -> None:
    before = counter.start()
    walls = facts(before), mounts(before)
    counter.checkpoint()
    assert counter.oci.run("list", "--quiet").stdout == ""
    last = counter.log()[-1]
    after = counter.restore_detached()
    counter.wait_for(last + 3)
    assert counter.log() == list(range(1, len(counter.log()) + 1))
    assert (facts(after), mounts(after)) == walls
    assert walls[0]["Seccomp"] == "2"
    assert not walls[1]["/proc/keys"]


@pytest.mark.requires("criu")
def test_restored_container_is_managed_like_any_other(counter: Counter) -> None:
    counter.start()
    counter.oci.quiet("pause", "count")
    counter.checkpoint("--leave-running")
    assert counter.oci.state("count")["status"] == "paused"
    counter.oci.quiet("delete", "--force", "count")
    counter.restore_detached()
    assert counter.oci.state("count")["status"] == "running"
    shown = counter.oci.run("exec", "count", "grep", "Seccomp:", "/proc/self/status")
    assert (shown.stdout.split(), shown.stderr) == (["Seccomp:", "2"], "")
    assert counter.oci.run("exec", "count", "cat", "/proc/self/cgroup").stdout.endswith(":/\n")
    counter.oci.quiet("pause", "count")
    assert counter.oci.state("count")["status"] == "paused"


@pytest.mark.requires("criu")
def test_in_the_foreground_its_output_and_exit_code_are_ours(counter: Counter) -> None:
    """What if its standard output was a pipe that is gone?"""
    argv = [*counter.oci.argv, "run", "count"]
    quiet = subprocess.DEVNULL
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, cwd=counter.oci.bundle, stdout=pipe, stderr=quiet) as first:
        counter.wait_for(3)
        counter.checkpoint()
        assert first.wait() == 137
    with counter.restore(name="again") as second:
        (counter.data / "end").touch()
        said, _ = second.communicate()
    assert said == f"counted to {counter.log()[-1]}\n"
    assert second.returncode == 7
    assert counter.oci.run("list", "--quiet").stdout == ""


@pytest.mark.requires("criu")
def test_memory_is_written_in_steps(counter: Counter) -> None:
    counter.start()
    first = counter.images.with_name("first")
    counter.oci.quiet("checkpoint", "--pre-dump", "--image-path", str(first), "count")
    assert counter.oci.state("count")["status"] == "running"
    counter.checkpoint("--parent-path", "../first")
    last = counter.log()[-1]
    counter.restore_detached()
    counter.wait_for(last + 1)
    assert counter.log() == list(range(1, len(counter.log()) + 1))


@pytest.mark.requires("criu")
def test_network_that_was_joined_is_joined_again(counter: Counter) -> None:
    with subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE) as holder:
        network = Path(f"/proc/{holder.pid}/ns/net")
        while os.readlink(network) == os.readlink("/proc/self/ns/net"):
            os.sched_yield()
        config = json.loads((counter.oci.bundle / "config.json").read_text())
        spaces = [n for n in config["linux"]["namespaces"] if n["type"] != "network"]
        counter.configure(namespaces=[*spaces, {"type": "network", "path": str(network)}])
        counter.start()
        counter.checkpoint()
        after = counter.restore_detached()
        assert os.readlink(f"/proc/{after}/ns/net") == os.readlink(network)
        counter.oci.quiet("delete", "--force", "count")
        holder.communicate()


def test_failed_checkpoint_leaves_it_running(counter: Counter) -> None:
    counter.start()
    oci = counter.oci
    failed = oci.run("--criu", "/bin/false", "checkpoint", "--image-path", "i", "count")
    assert failed.returncode == 1
    assert "criu dump failed, because criu does not work on this kernel" in failed.stderr
    assert oci.state("count")["status"] == "running"


def test_failed_restore_leaves_nothing(counter: Counter) -> None:
    counter.images.mkdir()
    (counter.images / "outside.json").write_text("{}")
    oci = counter.oci
    words = ("restore", "--image-path", str(counter.images), "count")
    failed = oci.run("--criu", "/bin/false", *words)
    assert failed.returncode == 1
    assert "criu restore failed" in failed.stderr
    assert oci.run("list", "--quiet").stdout == ""
    assert not os.path.exists(oci.root / "count")


def test_terminal_is_refused_by_name(oci: Runtime, tmp_path: Path) -> None:
    oci.config(args=["sleep", "1000"])
    config = json.loads((oci.bundle / "config.json").read_text())
    config["process"]["terminal"] = True
    (oci.bundle / "config.json").write_text(json.dumps(config))
    refused = oci.run("--criu", "/bin/true", "restore", "--image-path", str(tmp_path), "web")
    assert refused.returncode == 1
    assert "$.process.terminal: a container with a terminal cannot be" in refused.stderr


@pytest.mark.requires("criu")
def test_hooks_run_when_the_namespaces_are_there(counter: Counter, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    note = {"path": "/bin/sh", "args": ["sh", "-c", f"cat >>{seen}; echo >>{seen}"]}
    path = counter.oci.bundle / "config.json"
    config = json.loads(path.read_text())
    config["hooks"] = {"prestart": [note], "createRuntime": [note]}
    path.write_text(json.dumps(config))
    counter.start()
    counter.checkpoint()
    seen.unlink()
    pid = counter.restore_detached()
    states = [json.loads(line) for line in seen.read_text().splitlines()]
    assert [(state["status"], state["pid"]) for state in states] == [("creating", pid)] * 2
    counter.wait_for(counter.log()[-1] + 2)


def midway(folder: Path, act: Callable[[int], None]) -> int:
    """Return how the script ends that criu would run at this stage."""
    stage = Midway(str(folder), act)
    told = {"CRTOOLS_SCRIPT_ACTION": "setup-namespaces", "CRTOOLS_INIT_PID": "77"}
    with subprocess.Popen([stage.program], env=told) as script:
        try:
            stage.attend(script.pid)
        finally:
            code = script.wait()
            stage.close()
    assert not list(folder.iterdir())
    return code


def test_criu_waits_for_the_hooks(tmp_path: Path) -> None:
    asked: list[int] = []
    assert midway(tmp_path, asked.append) == 0
    assert asked == [77]


def test_hook_that_fails_ends_the_restore_and_is_told(tmp_path: Path) -> None:
    def fail(_pid: int) -> None:
        raise MinirunError("no network")

    with pytest.raises(MinirunError, match="no network"):
        midway(tmp_path, fail)


@pytest.fixture
def listener(tmp_path: Path) -> Path:
    """Return a criu that notes what it is told, and does nothing."""
    program = tmp_path / "listener"
    program.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/told\n')
    program.chmod(0o755)
    return program


#: containerd's shim, podman, CRI-O: what each can put on a line, and what criu must hear of it.
LINES = {
    "containerd": (
        "--work-path w --tcp-established --ext-unix-sk --shell-job --file-locks --empty-ns network "
        "--leave-running",
        "--tcp-established --ext-unix-sk --shell-job --file-locks --empty-ns net --leave-running "
        "--manage-cgroups=soft",
    ),
    "podman": (
        "--work-path=w --leave-running --tcp-established --file-locks --manage-cgroups-mode full",
        "--leave-running --tcp-established --file-locks --manage-cgroups=full",
    ),
    "podman in steps": ("--pre-dump --parent-path ../p", "--track-mem --prev-images-dir ../p"),
    "CRI-O": ("--file-locks --work-path w --leave-running", "--file-locks --leave-running"),
    "runc": (
        "-leave-running -auto-dedup -tcp-skip-in-flight -link-remap",
        "--leave-running --auto-dedup --skip-in-flight --link-remap",
    ),
}


@pytest.mark.parametrize("engine", LINES)
def test_what_an_engine_asks_for_reaches_criu(
    counter: Counter, listener: Path, tmp_path: Path, engine: str
) -> None:
    """Options before the id, or after it; the directories are where the caller is."""
    counter.start()
    asked, heard = LINES[engine]
    head = ("--criu", str(listener), "checkpoint", "--image-path", str(counter.images))
    counter.oci.quiet(*head, *asked.split(), "count", cwd=tmp_path)
    told = (tmp_path / "told").read_text()
    assert told.startswith("pre-dump " if "pre-dump" in asked else "dump ")
    work = tmp_path / "w" if "work-path" in asked else counter.images
    assert f"--images-dir {counter.images} --work-dir {work} " in told
    assert set(heard.split()) <= set(told.split())
    assert counter.oci.state("count")["status"] == "running"


def test_options_are_refused_by_name(counter: Counter) -> None:
    counter.start()
    refused = {
        ("--manage-cgroups-mode", "ignore"): "--manage-cgroups-mode 'ignore'",
        ("--empty-ns", "ipc", "--empty-ns", "network"): "--empty-ns ipc: only network can be left",
        ("--lazy-pages",): "checkpoint --lazy-pages is not supported",
        ("--status-fd", "7"): "checkpoint --status-fd is not supported",
        ("--page-server", "a:1"): "checkpoint --page-server is not supported",
        ("--lsm-profile", "x"): "flag provided but not defined: -lsm-profile",
    }
    for words, text in refused.items():
        failed = counter.oci.run("--criu", "/bin/true", "checkpoint", *words, "count")
        assert failed.returncode == 1
        assert text in failed.stderr
    for words in (("--lazy-pages",), ("--no-pivot",), ("--console-socket", "s")):
        failed = counter.oci.run("--criu", "/bin/true", "restore", *words, "other")
        assert f"restore {words[0]} is not supported" in failed.stderr
    assert counter.oci.state("count")["status"] == "running"


@pytest.mark.parametrize("words", [("checkpoint", "--help"), ("restore", "--help")])
def test_engines_find_out_whether_it_can(oci: Runtime, words: tuple[str, ...]) -> None:
    """What podman looks at: the help page, and an option of restore for the labels of pods."""
    assert oci.run(*words).returncode == 0
    labels = oci.run("restore", "--lsm-mount-context").stderr
    assert "not defined: -lsm-mount-context" in labels  # and not: needs an argument
