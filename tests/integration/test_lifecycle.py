"""Create, start, kill, delete on the real kernel; every way to fail, and every moment to die."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from minirun import creation
from minirun import plan as planning
from minirun.decode import decode
from minirun.errors import MinirunError, NotFoundError, StateError, StepError
from minirun.host import probe
from minirun.lifecycle import Container, Request
from minirun.plan import Plan
from minirun.spec import Spec
from minirun.steps.base import Context, Step
from minirun.steps.overlay import Overlay
from tests.integration.engine_lab import eventually, kill_hard
from tests.offspring import Offspring

pytestmark = pytest.mark.requires("root", "overlay", "busybox")

NAMESPACES = ("mount", "pid", "uts", "ipc", "network", "cgroup")
REMAPPED = [{"containerID": 0, "hostID": 100000, "size": 65536}]
_numbers = count()
Json = dict[str, Any]


class Broken(Step):
    """A step that fails in place of another."""

    id = "broken"
    inner: Step

    @property
    def title(self) -> str:
        return self.inner.title

    @property
    def lane(self) -> str:  # type: ignore[override]
        return self.inner.lane

    @property
    def hands_over(self) -> bool:  # type: ignore[override]
        return self.inner.hands_over

    def apply(self, context: Context) -> None:
        del context
        raise MinirunError("broken on purpose")


class Lab:
    """Makes containers of one root file system, and takes them away."""

    def __init__(self, root: Path, rootfs: Path, folder: Path) -> None:
        self.root, self.rootfs, self.folder = root, rootfs, folder
        self.made: list[Container] = []
        self.offspring = Offspring()

    def config(self, *args: str, **process: Any) -> Json:  # noqa: ANN401
        """Return a config.json with a read-write overlay root, /proc and /dev."""
        return {
            "ociVersion": "1.2.0",
            "root": {"path": "rootfs"},
            "hostname": "lab",
            "process": {"cwd": "/", "args": list(args), "env": ["PATH=/bin"], **process},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {
                    "destination": "/dev",
                    "type": "tmpfs",
                    "source": "tmpfs",
                    "options": ["mode=755"],
                },
                {"destination": "/dev/pts", "type": "devpts", "options": ["newinstance"]},
            ],
            "linux": {"namespaces": [{"type": kind} for kind in NAMESPACES]},
        }

    def container(self, name: str = "") -> Container:
        made = Container(str(self.root), name or f"lab-{os.getpid()}-{next(_numbers)}", probe())
        self.made.append(made)
        return made

    def create(self, container: Container, config: Json, out: int = -1, **more: Any) -> None:  # noqa: ANN401
        """Create it with its output going to a descriptor."""
        null = os.open(os.devnull, os.O_RDWR)
        out = null if out < 0 else out
        layers = self.folder / container.id
        for name in ("upper", "work"):
            (layers / name).mkdir(parents=True, exist_ok=True)
        stack = Overlay((str(self.rootfs),), str(layers / "upper"), str(layers / "work"))
        spec = decode(Spec, config)
        request = Request(container.id, str(self.folder), overlay=stack, stdio=(null, out, out))
        try:
            container.create(spec, request, **more)
        finally:
            os.close(null)

    def run(self, config: Json) -> tuple[int, str]:
        """Return the exit code and the output of one container."""
        container = self.container()
        out = os.memfd_create("out")
        try:
            self.create(container, config, out)
            pid = container.state().pid
            container.start()
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            container.delete()
            return code, os.pread(out, 1 << 20, 0).decode()
        finally:
            os.close(out)

    def sh(self, script: str, **process: Any) -> str:  # noqa: ANN401
        """Return what a script prints; it must succeed."""
        code, text = self.run(self.config("sh", "-c", script, **process))
        assert code == 0, text
        return text

    def close(self) -> None:
        for container in self.made:
            container.delete(force=True)
        eventually(self.offspring.reap, lambda left: not left)


@pytest.fixture
def lab(engine_rootfs: Path, state_root: Path, data_root: Path, tmp_path: Path) -> Iterator[Lab]:
    made = Lab(state_root, engine_rootfs, tmp_path)
    yield made
    made.close()


def footprint(state_root: Path) -> set[str]:
    """Return what a container of this process leaves on a host: state, groups, mounts."""
    ours = f"lab-{os.getpid()}-"
    found = {f"state {name}" for name in os.listdir(state_root) if name[0] != "."}
    for tree in ("minirun", "*/minirun"):  # v2 has one, v1 one for each controller
        found |= set(map(str, Path("/sys/fs/cgroup").glob(f"{tree}/{ours}*")))
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return found | {line.split()[4] for line in mounts if ours in line}


# ── status ────────────────────────────────────────────────────────────────────────────────────


def test_life_from_create_to_delete(lab: Lab) -> None:
    container = lab.container()
    with pytest.raises(NotFoundError):
        container.state()
    lab.create(container, lab.config("sleep", "1000"))
    assert container.state().status == "created"
    pid = container.state().pid
    assert "python" in os.readlink(f"/proc/{pid}/exe")
    container.start()
    assert container.state().status == "running"
    assert os.readlink(f"/proc/{pid}/exe").endswith("busybox")
    container.kill(signal.SIGKILL)
    os.waitpid(pid, 0)
    assert container.state().status == "stopped"
    container.delete()
    with pytest.raises(NotFoundError):
        container.state()


@pytest.mark.requires("cgroups")
def test_pause_and_resume(lab: Lab) -> None:
    container = lab.container()
    lab.create(container, lab.config("sleep", "1000"))
    container.start()
    container.pause()
    assert container.state().status == "paused"
    with pytest.raises(StateError, match="paused"):
        container.pause()
    container.resume()
    assert container.state().status == "running"
    with pytest.raises(StateError, match="not paused"):
        container.resume()


def test_operations_that_a_status_does_not_allow(lab: Lab) -> None:
    container = lab.container()
    lab.create(container, lab.config("sleep", "1000"))
    for operation in (container.pause, container.resume):
        with pytest.raises(StateError):
            operation()
    with pytest.raises(StateError, match="already exists"):
        lab.create(container, lab.config("true"))
    container.start()
    with pytest.raises(StateError, match="cannot start a container in the running state"):
        container.start()
    with pytest.raises(StateError, match="not stopped"):
        container.delete()
    pid = container.state().pid
    container.kill(signal.SIGKILL)
    os.waitpid(pid, 0)
    for act in (container.start, container.pause, lambda: container.kill(signal.SIGTERM)):
        with pytest.raises(StateError):
            act()


def test_init_that_dies_between_create_and_start(lab: Lab) -> None:
    container = lab.container()
    lab.create(container, lab.config("true"))
    kill_hard(container.state().pid)
    assert container.state().status == "stopped"
    with pytest.raises(StateError):
        container.start()
    container.delete()


def test_program_that_is_missing_or_no_program(lab: Lab) -> None:
    for args, code in ((["nothing"], 127), (["/etc"], 126), (["/etc/passwd"], 126)):
        with pytest.raises(StepError) as caught:
            lab.create(lab.container(), lab.config(*args))
        assert caught.value.exit_code == code
    assert not footprint(lab.root)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-x", ".x", "a b", "x" * 2000, "ü"])
def test_id_that_could_be_a_path_is_refused(lab: Lab, name: str) -> None:
    with pytest.raises(StateError, match="invalid container ID"):
        Container(str(lab.root), name, probe())


def test_two_creates_of_one_id_give_one_container(lab: Lab) -> None:
    name = f"lab-{os.getpid()}-race"
    for _ in range(5):
        pids = [fork(lambda: lab.create(lab.container(name), lab.config("true"))) for _ in "abc"]
        codes = sorted(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids)
        assert codes == [0, 5, 5]
        lab.container(name).delete(force=True)


def test_create_and_delete_of_one_id_never_trip_over_each_other(lab: Lab) -> None:
    name = f"lab-{os.getpid()}-churn"

    def churn() -> None:
        for _ in range(6):
            container = lab.container(name)
            try:
                lab.create(container, lab.config("true"))
            except StateError:
                container.delete(force=True)

    pids = [fork(churn) for _ in "ab"]
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0, 0]
    lab.container(name).delete(force=True)
    assert not footprint(lab.root)


def test_eight_at_a_time(lab: Lab) -> None:
    def live() -> None:
        assert lab.run(lab.config("sh", "-c", "echo $$"))[1] == "1\n"

    pids = [fork(live) for _ in range(8)]
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * 8


def fork(act: Callable[[], object]) -> int:
    """Run something in a child: exit code 0, 5 for a StateError, 6 for what should not be."""
    pid = os.fork()
    if pid:
        return pid
    try:
        act()
        os._exit(0)
    except StateError:
        os._exit(5)
    finally:
        os._exit(6)


# ── failing and dying at every step ───────────────────────────────────────────────────────────


def steps_of(lab: Lab, config: Json) -> tuple[Step, ...]:
    container = Container(str(lab.root), "plan", probe())
    stack = Overlay(("/",), "/u", "/w")
    request = Request("plan", str(lab.folder), overlay=stack)
    return container.plan(decode(Spec, config), request)[0].steps


def full(lab: Lab, *, remapped: bool) -> Json:
    """Return a config that has almost every step there is."""
    config = lab.config("true", noNewPrivileges=True, oomScoreAdj=500)
    config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "hard": 512, "soft": 256}]
    hook = [{"path": "/bin/true"}]
    config["hooks"] = dict.fromkeys(("prestart", "createRuntime", "createContainer"), hook)
    config["root"]["readonly"] = True
    linux = config["linux"]
    linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    linux["maskedPaths"], linux["readonlyPaths"] = ["/proc/keys"], ["/proc/sys"]
    if remapped:
        linux["namespaces"].append({"type": "user"})
        linux["uidMappings"] = linux["gidMappings"] = REMAPPED
        bind = {"destination": "/vol", "type": "bind", "source": str(lab.folder)}
        config["mounts"].append({**bind, "options": ["rbind", "idmap"]})
    return config


@pytest.mark.parametrize("remapped", [False, True], ids=["plain", "userns"])
def test_every_step_that_fails_is_named_and_leaves_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, remapped: bool
) -> None:
    config = full(lab, remapped=remapped)
    before, make = footprint(lab.root), planning.plan_create
    last = next(i for i, step in enumerate(steps_of(lab, config)) if step.hands_over)
    for index in range(last):

        def breaking(*args: Any, at: int = index) -> Plan:  # noqa: ANN401
            steps = list(make(*args).steps)
            steps[at] = Broken(steps[at])
            return Plan(tuple(steps))

        monkeypatch.setattr(creation, "plan_create", breaking)
        step = steps_of(lab, config)[index].title
        with pytest.raises(StepError, match="broken on purpose") as caught:
            lab.create(lab.container(), config)
        assert caught.value.step == step
        assert footprint(lab.root) == before, step
    eventually(lab.offspring.reap, lambda left: not left)


@pytest.mark.parametrize("remapped", [False, True], ids=["plain", "userns"])
def test_runtime_killed_at_every_step_leaves_the_id_free(lab: Lab, remapped: bool) -> None:
    """What if the runtime dies by kill -9 after step k? The next create clears up after it."""
    config = full(lab, remapped=remapped)
    name = f"lab-{os.getpid()}-killed"
    before = footprint(lab.root)
    last = next(i for i, step in enumerate(steps_of(lab, config)) if step.hands_over)
    for index in range(last):

        def die(at: int, _step: Step, _seconds: float, wanted: int = index) -> None:
            if at == wanted:
                os.kill(os.getpid(), signal.SIGKILL)

        pid = fork(partial(lab.create, lab.container(name), config, observe=die))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        container = lab.container(name)
        if index % 2 and index < last - 1:  # after save-state it exists, and is stopped
            lab.create(container, config)
            assert container.state().status == "created"
        container.delete(force=True)
        assert footprint(lab.root) == before, index


# ── hooks ─────────────────────────────────────────────────────────────────────────────────────


def test_hooks_run_in_order_with_the_state_on_their_input(lab: Lab) -> None:
    diary = lab.folder / "diary"
    config = lab.config("true")
    kinds = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    config["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"(echo {kind}; cat; echo) >> {diary}"]}]
        for kind in kinds
    }
    inside = {"path": "/bin/sh", "args": ["sh", "-c", "cat > /inside"]}
    config["hooks"]["startContainer"] = [inside]
    container = lab.container()
    lab.create(container, config)
    container.start()
    container.delete(force=True)
    lines = [line for line in diary.read_text().splitlines() if line]
    assert lines[::2] == list(kinds)
    statuses = [decode_status(line) for line in lines[1::2]]
    assert statuses == ["creating", "creating", "creating", "running", "stopped"]
    upper = lab.folder / container.id / "upper/inside"
    assert decode_status(upper.read_text()) == "created"


def decode_status(text: str) -> str:
    import json

    return str(json.loads(text)["status"])


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        (
            {"path": "/bin/sh", "args": ["sh", "-c", "echo no luck; exit 3"]},
            "exit status 3: no luck",
        ),
        ({"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}, "timed out after 1 s"),
        ({"path": "/no/such/hook"}, "no such file"),
    ],
    ids=["fails", "hangs", "missing"],
)
@pytest.mark.parametrize("kind", ["createRuntime", "createContainer"])
def test_hook_that_fails_ends_the_create(lab: Lab, kind: str, hook: Json, words: str) -> None:
    config = lab.config("true")
    config["hooks"] = {kind: [hook]}
    with pytest.raises(StepError, match=words):
        lab.create(lab.container(), config)
    assert not footprint(lab.root)


# ── isolation ─────────────────────────────────────────────────────────────────────────────────


def test_container_sees_itself_alone(lab: Lab) -> None:
    text = lab.sh("hostname; echo $$; ls /proc | grep -c '^[0-9]*$'; ls /sys/class/net 2>&1; ls /")
    lines = text.splitlines()
    assert lines[:2] == ["lab", "1"]
    assert int(lines[2]) <= 3
    assert set(os.listdir(lab.rootfs)) >= set(lines[4:]) - {"sys"}
    for kind in ("mnt", "pid", "uts", "ipc", "net", "cgroup"):
        theirs = lab.sh(f"readlink /proc/self/ns/{kind}").strip()
        assert theirs != os.readlink(f"/proc/self/ns/{kind}")


def test_identity_limits_and_no_new_privileges(lab: Lab) -> None:
    user = {"uid": 1000, "gid": 1000, "additionalGids": [50], "umask": 0o27}
    process = {
        "user": user,
        "noNewPrivileges": True,
        "oomScoreAdj": 300,
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 512, "soft": 256}],
        "capabilities": {"bounding": ["CAP_KILL"]},
    }
    script = """id; umask; ulimit -n; cat /proc/self/oom_score_adj
    grep -E '^(Cap|NoNew)' /proc/self/status; echo $HOME"""
    lines = lab.sh(script, **process).splitlines()
    assert lines[0] == "uid=1000(ann) gid=1000(ann) groups=50(staff)"
    assert lines[1:4] == ["0027", "256", "300"]
    status = dict(line.split(":\t") for line in lines[4:10])
    assert status["CapEff"] == status["CapPrm"] == status["CapAmb"] == "0" * 16
    assert int(status["CapBnd"], 16) == 1 << 5
    assert status["NoNewPrivs"] == "1"
    assert lines[10] == "/tmp"


def test_masked_and_readonly_paths_and_root(lab: Lab) -> None:
    script = "wc -c < /proc/keys; echo 1 > /proc/sys/net/ipv4/ip_forward; touch /x"
    config = lab.config("sh", "-c", script)
    config["root"]["readonly"] = True
    config["linux"]["maskedPaths"] = ["/proc/keys", "/no/such/path"]
    config["linux"]["readonlyPaths"] = ["/proc/sys", "/no/such/path"]
    _, text = lab.run(config)
    assert text.count("Read-only file system") == 2
    assert text.splitlines()[0] == "0"


def test_bind_is_recursive_read_only_only_where_asked(lab: Lab) -> None:
    source = lab.folder / "source"
    (source / "below").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", source / "below"], check=True)
    try:
        for options, wanted in ((["rbind", "ro"], "rw"), (["rbind", "rro"], "ro")):
            config = lab.config("sh", "-c", "touch /v/x || echo top; touch /v/below/x || echo deep")
            config["mounts"].append(
                {"destination": "/v", "type": "bind", "source": str(source), "options": options}
            )
            _, text = lab.run(config)
            assert "top" in text.splitlines()
            assert ("deep" in text.splitlines()) == (wanted == "ro")
    finally:
        subprocess.run(["umount", source / "below"], check=True)


def test_namespaces_are_joined_by_path(lab: Lab) -> None:
    first = lab.container()
    lab.create(first, lab.config("sleep", "1000"))
    first.start()
    pid = first.state().pid
    config = lab.config("sh", "-c", "hostname; readlink /proc/self/ns/net")
    config["hostname"] = ""
    for entry in config["linux"]["namespaces"]:
        if entry["type"] in ("uts", "network", "ipc"):
            kind = {"network": "net"}.get(entry["type"], entry["type"])
            entry["path"] = f"/proc/{pid}/ns/{kind}"
    _, text = lab.run(config)
    assert text.split() == ["lab", os.readlink(f"/proc/{pid}/ns/net")]


# ── again and again ───────────────────────────────────────────────────────────────────────────


def test_fifty_lives_leave_nothing(lab: Lab) -> None:
    before = footprint(lab.root), len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        assert lab.run(lab.config("true"))[0] == 0
    assert (footprint(lab.root), len(os.listdir("/proc/self/fd"))) == before
