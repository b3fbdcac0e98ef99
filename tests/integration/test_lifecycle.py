"""Create, start, kill, delete on the real kernel, and every way that a config can be wrong.

What happens when the runtime itself fails or dies on the way is in ``test_killed.py``.
"""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from minirun.errors import NotFoundError, StateError, StepError
from minirun.flags import Clone
from minirun.host import probe
from minirun.lifecycle import Container
from minirun.steps.base import Context
from minirun.steps.handoff import ForkInitDirectly
from tests.integration.engine_lab import kill_hard
from tests.integration.lifecycle_lab import Json, Lab, footprint, fork

pytestmark = pytest.mark.requires("root", "overlay", "busybox")

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


def test_create_leaves_its_caller_where_it_was(lab: Lab) -> None:
    """What if the runtime forgot its way back? Its next child would be in the container."""

    def home() -> bool:
        ours, childrens = (os.readlink(f"/proc/self/ns/{n}") for n in ("pid", "pid_for_children"))
        return ours == childrens

    container = lab.container()
    lab.create(container, lab.config("sleep", "1000"))
    assert home()
    lab.create(lab.container(), lab.config("true"))  # and so the next one is a sister, not inside
    context = Context("x", "/", "/")
    with pytest.raises(RuntimeError, match="without what its steps need"):
        ForkInitDirectly(Clone.CLONE_NEWPID).apply(context)  # there is nothing to fork it with
    assert home()


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


@pytest.mark.parametrize(("options", "seen"), [([], ""), (["tmpcopyup"], "group\npasswd\n")])
def test_tmpfs_begins_with_what_it_covers_where_asked(
    lab: Lab, options: list[str], seen: str
) -> None:
    config = lab.config("ls", "/etc")
    config["mounts"].append({"destination": "/etc", "type": "tmpfs", "options": options})
    assert lab.run(config) == (0, seen)


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
