"""A command joins a container: the plan as data, and the real thing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from minirun.decode import decode
from minirun.errors import MinirunError, StateError
from minirun.execute import ExecRequest, execute, process_like
from minirun.flags import Clone, SeccompFlag
from minirun.host import Host, probe
from minirun.lifecycle import Container
from minirun.plan import Filter
from minirun.plan_exec import ExecSetting, plan_exec
from minirun.record import replace
from minirun.spec import Capabilities, ExecCpuAffinity, Process, Root, Spec
from tests.features import cgroup2_mount
from tests.integration.oci_lab import Runtime, make_bundle

PROCESS = Process("/", ("sh",), capabilities=Capabilities(permitted=("CAP_KILL",)))
SPEC = Spec("1.3.0", Root("rootfs"), process=replace(PROCESS, oom_score_adj=7))
SETTING = ExecSetting(Clone.CLONE_NEWNS | Clone.CLONE_NEWPID, 42, groups=("/g",))


def _ids(process: Process = PROCESS, setting: ExecSetting = SETTING) -> list[str]:
    return [step.id for step in plan_exec(process, SPEC, Host(), setting).steps]


def test_plan_hides_before_it_joins() -> None:
    ids = _ids()
    assert ids.index("join-cgroup") < ids.index("hide-from-container") < ids.index("join-container")
    assert ids.index("join-container") < ids.index("fork-process")
    assert ids[-2:] == ["prepare-execve", "execve"]


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_plan_loads_seccomp_where_it_may(no_new_privileges: bool) -> None:
    setting = replace(SETTING, seccomp=Filter(bytes(8), SeccompFlag(0)))
    ids = _ids(replace(PROCESS, no_new_privileges=no_new_privileges), setting)
    last = ids.index("seccomp") == len(ids) - 2
    assert last == no_new_privileges


def test_plan_takes_the_containers_oom_score() -> None:
    assert "oom-score" in _ids()


def test_plan_sets_affinity_before_and_after_the_group() -> None:
    ids = _ids(replace(PROCESS, exec_cpu_affinity=ExecCpuAffinity("0", "1")))
    order = ("initial-affinity", "join-cgroup", "final-affinity")
    assert [ids.index(step) for step in order] == sorted(map(ids.index, order))


def test_process_like_never_fills_the_inheritable_set() -> None:
    made = process_like(SPEC, ["id"], capabilities=["CAP_NET_RAW"], env=["A=b"])
    assert made.capabilities is not None
    assert made.capabilities.permitted == ("CAP_KILL", "CAP_NET_RAW")
    assert made.capabilities.inheritable == made.capabilities.ambient == ()
    assert made.env[-1] == "A=b"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Container]:
    runtime = Runtime(tmp_path / "state", make_bundle(tmp_path / "bundle"))
    runtime.start("web")
    yield Container(str(tmp_path / "state"), "web", probe())
    runtime.delete_all()


def _process(container: Container, *args: str, **changes: object) -> Process:
    return replace(process_like(container.directory.read_spec(), args), **changes)


@pytest.mark.requires("root", "busybox", "cgroups")
def test_execute_returns_a_pid_that_the_caller_can_wait_for(web: Container) -> None:
    running = execute(web, _process(web, "sh", "-c", "exit 6"))
    assert os.waitstatus_to_exitcode(os.waitpid(running.pid, 0)[1]) == 6


@pytest.mark.requires("root", "busybox", "cgroups")
def test_execute_gives_a_terminal_but_leaves_the_console_alone(web: Container) -> None:
    running = execute(web, _process(web, "sh", "-c", "tty; ls /dev/console", terminal=True))
    shown = b""
    try:
        while data := os.read(running.console, 4096):
            shown += data
    except OSError:  # EIO: the end
        pass
    os.waitpid(running.pid, 0)
    os.close(running.console)
    assert shown.startswith(b"/dev/pts/0\r\n")
    assert b"No such file" in shown


@pytest.mark.requires("root", "busybox", "cgroups")
def test_execute_learns_that_execve_failed(web: Container) -> None:
    script = Path(web.state().rootfs) / "broken"
    script.write_text("#!/nope\n")
    script.chmod(0o755)
    with pytest.raises(MinirunError, match="no such file") as caught:
        execute(web, _process(web, "/broken"))
    assert caught.value.exit_code == 127
    assert "/nope" in caught.value.hint


@pytest.mark.requires("root", "busybox", "cgroups")
@pytest.mark.parametrize("group", ["../x", "memory:../x", "nope:x"])
def test_execute_stays_in_the_containers_groups(web: Container, group: str) -> None:
    with pytest.raises(MinirunError):
        execute(web, _process(web, "true"), ExecRequest(cgroups=(group,)))


@pytest.mark.requires("root", "busybox", "cgroups")
def test_execute_joins_an_inner_group(web: Container) -> None:
    tree = cgroup2_mount()
    inner = (tree or Path("/sys/fs/cgroup/memory")) / "minirun/web/inner"
    wanted = "inner" if tree else "memory:inner"
    inner.mkdir()
    running = execute(web, _process(web, "sleep", "1000"), ExecRequest(cgroups=(wanted,)))
    assert inner.joinpath("cgroup.procs").read_text().split() == [str(running.pid)]
    os.kill(running.pid, 9)
    os.waitpid(running.pid, 0)
    inner.rmdir()


@pytest.mark.requires("root", "busybox", "cgroups")
def test_execute_refuses_a_pid_that_was_used_again(web: Container) -> None:
    """What if init died and its number now belongs to a process of the host."""
    file = Path(web.directory.file("state.json"))
    state = json.loads(file.read_text())
    honest = file.read_text()
    file.write_text(json.dumps({**state, "pid": os.getpid()}))
    with pytest.raises(StateError, match="stopped container"):
        execute(web, _process(web, "true"))
    file.write_text(honest)


def test_process_is_decoded_like_the_rest_of_the_spec() -> None:
    held = {"cwd": "/", "execCPUAffinity": {"initial": "0"}, "args": ["x"]}
    assert decode(Process, held).exec_cpu_affinity == ExecCpuAffinity(initial="0")
