"""Replicas as containers of this host: the same rules as the fake, and what only they can break."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minirun import ScheduleError
from scheduler.actions import Start
from scheduler.control.ports import LogLine
from scheduler.engines.afterlife import KEPT_REPLICAS, Afterlife
from scheduler.engines.inside import OUTPUT_BYTES, Inside
from scheduler.engines.replica import Box
from scheduler.model import Resources, Secret, Template, Volume
from scheduler.observed import Grant, Phase
from scheduler.policy import ExecCheck, HttpCheck, Probe, Probes, TcpCheck
from tests.integration.engine_lab import kill_hard
from tests.scheduler.contract import RuntimeContract
from tests.scheduler.local_lab import LocalLab, make_images, opened

pytestmark = pytest.mark.requires("root", "overlay", "seccomp", "busybox")
GIB = 1 << 30
#: busybox has no server for Unix sockets: the host's Python is lent to it.
LENT = tuple(Volume("bind", path, path, read_only=True) for path in ("/usr", "/lib", "/lib64"))
LISTEN = """
import contextlib, socket
listener = socket.socket(socket.AF_UNIX)
listener.bind("/run/app/http.sock")
listener.listen()
while True:
    with contextlib.suppress(OSError):
        listener.accept()[0].send(b"hello")
"""


@pytest.fixture(scope="module", autouse=True)
def _images(tmp_path_factory: pytest.TempPathFactory) -> None:
    make_images(tmp_path_factory.mktemp("images"))


@pytest.fixture
def lab() -> Iterator[LocalLab]:
    with opened() as lab:
        yield lab


class TestLocalRuntime(RuntimeContract):
    """What the fake keeps, the real one keeps."""


def sh(lab: LocalLab, script: str, name: str = "web.1", **template: Any) -> None:  # noqa: ANN401
    """Start a replica that runs a script and offers nothing."""
    order = {"port": None, "command": ("sh", "-c", script), **template}
    lab.start(name, "sh", **order)


def output(lab: LocalLab, script: str, **template: Any) -> str:  # noqa: ANN401 - any field
    """Return what a script prints inside a replica."""
    sh(lab, script, **template)
    assert lab.ended().problem == ""
    lines = Inside(lab.runtime).logs("web.1", tail=None)
    return "\n".join(line.text for line in lines if line is not None)


# ---- what is inside -----------------------------------------------------------------------------


def test_a_replica_gets_what_its_template_says(lab: LocalLab) -> None:
    script = "id -u; pwd; echo $COLOUR; cat /run/secrets/key /etc/other; echo; touch /x || echo ro"
    secrets = (Secret("key"), Secret("key", "/etc/other", uid=1000, mode=0o400))
    printed = output(
        lab,
        script,
        user="1000",
        working_dir="/tmp",
        env={"COLOUR": "red"},
        secrets=secrets,
        volumes=(Volume("tmpfs", "/d", size_bytes=1 << 20), Volume("volume", "/v", "v1")),
        read_only=True,
    )
    wanted = ["1000", "/tmp", "red", "a secreta secret"]
    assert printed.split("\n")[:4] == wanted
    assert "ro" in printed.split("\n"), "its root is read-only"


def test_a_new_volume_begins_with_what_the_image_has_there(lab: LocalLab) -> None:
    """What if one that filled it was killed over that? The next one does it, and all of it."""
    lab.home.volumes.ensure("bins")
    Path(lab.home.volumes.path("bins"), "busybox").write_text("half of it")
    order = {"port": None, "command": ("sleep", "1000"), "volumes": (BINS,)}
    for name in ("web.1", "web.2"):  # both at once: one of them fills it
        lab.start(name, "sh", **order)
    for name in ("web.1", "web.2"):
        lab.running(name)
    assert not lab.home.volumes.get("bins").fresh


def test_what_a_replica_wrote_outlives_it(lab: LocalLab) -> None:
    for name in ("web.1", "gone.1"):
        sh(lab, "echo one; echo two >&2; exit 3", name)
        lab.ended(name)
        lab.runtime.remove(name)
    lab.wait_until(
        lambda: not lab.runtime.replicas() and lab.runtime.afterlife.replicas("web") != ()
    )
    inside = Inside(lab.runtime)
    told = [(line.stream, line.text) for line in inside.logs("web.1", tail=None) if line]
    assert sorted(told) == [("stderr", "two"), ("stdout", "one")]
    assert [line.text for line in inside.logs("web.1", tail=1) if line] == ["two"]
    for name in ("gone.1", "web.2", "...1", "../web.1"):  # deleted; never there; no ids at all
        with pytest.raises(ScheduleError):
            inside.logs(name, tail=None)


def test_little_is_kept_of_what_replicas_wrote(tmp_path: Path) -> None:
    wanted = {"web", "job"}
    kept = Afterlife(tmp_path / "logs", wanted.__contains__)
    for number in range(1, KEPT_REPLICAS + 3):
        kept.keep(f"web.{number}", [LogLine(1.5, "stdout", f"number {number}")])
    assert kept.replicas("web") == tuple(f"web.{n}" for n in range(3, KEPT_REPLICAS + 3))
    kept.keep("job.1", [])
    assert kept.replicas("job") == (), "nothing was written"
    wanted.remove("web")
    kept.tidy()
    assert kept.lines(f"web.{KEPT_REPLICAS}") is None


#: Without the image's content in it nothing could be run at all.
BINS = Volume("volume", "/bin", "bins")


def test_secrets_are_on_no_disk_and_nobody_else_s(lab: LocalLab) -> None:
    script = "stat -c '%a %u' /run/secrets/mine; df /run/secrets | tail -1; cat; sleep 100"
    sh(lab, script, secrets=(Secret("key", "mine", uid=7, mode=0o400),))
    lab.running()
    lines = Inside(lab.runtime).logs("web.1", tail=None)
    heard = _wait_for(lab, lines, 2)
    assert heard[0] == ("stdout", "400 7")
    assert heard[1][1].startswith("minirun")  # the tmpfs
    assert Path(lab.home.root, ".scheduler/replicas").stat().st_mode & 0o777 == 0o700


def test_limits_are_those_of_its_control_group(lab: LocalLab) -> None:
    limits = Resources(cpu_millis=500, memory_bytes=64 << 20, pids=20)
    sh(lab, "sleep 100", limits=limits, requests=Resources(cpu_millis=250))
    lab.running()
    box = lab.runtime.box("web.1")
    assert box is not None
    options = lab.runtime.containers.read(box.container).options.resources
    assert (options.cpus_nano, options.memory_bytes, options.pids_limit) == (
        500_000_000,
        64 << 20,
        20,
    )
    assert options.cpu_shares == 256
    assert lab.runtime.containers.usage(lab.runtime.containers.read(box.container)).pids >= 1
    usage = Inside(lab.runtime).usage()["web.1"]
    assert (usage.memory_limit_bytes, usage.cpu_limit_millis) == (64 << 20, 500)


def test_more_memory_than_its_limit_is_told_as_that(lab: LocalLab) -> None:
    sh(lab, "x=a; while :; do x=$x$x; done", limits=Resources(memory_bytes=16 << 20))
    seen = lab.ended()
    assert seen.oom
    assert 8 << 20 < seen.peak_memory_bytes <= 17 << 20


def test_a_granted_device_is_there_and_no_other(lab: LocalLab) -> None:
    order = Start(
        "web.1",
        "web",
        1,
        Template("sh", command=("sh", "-c", "ls /dev/null /dev/kmsg")),
        (Grant("node0", gpus=("/dev/null",)),),
    )
    lab.runtime.start(order)
    assert lab.ended().exit_code == 1
    lines = [line.text for line in Inside(lab.runtime).logs("web.1", tail=None) if line]
    assert "/dev/null" in lines
    assert lab.seen().grants == order.grants


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"image": "sh", "command": ("/no/such",)}, "no such file"),
        ({"image": "sh", "user": "nobody-here"}, "nobody-here"),
        ({"image": "sh", "secrets": (Secret("lost"),)}, "there is no secret lost"),
        ({"image": "sh", "secrets": (Secret("key", "../x"),)}, "target '../x'"),
        ({"image": "sh", "volumes": (Volume("bind", "/x", "/no/such/dir"),)}, "/no/such/dir"),
        ({"image": "sh", "port": None, "socket": f"/run/{'x' * 90}"}, "too long"),
        ({"image": "good:3"}, "no such image"),
    ],
)
def test_what_cannot_start_says_why(
    lab: LocalLab, changes: dict[str, object], problem: str
) -> None:
    lab.start("web.1", **changes)  # type: ignore[arg-type]
    seen = lab.ended()
    assert problem in seen.problem.lower(), seen.problem
    assert seen.exit_code is None or seen.exit_code > 124


# ---- ready, alive -------------------------------------------------------------------------------


def test_a_port_is_ready_when_it_accepts(lab: LocalLab) -> None:
    lab.start("web.1", "good")
    seen = lab.ready()
    host, _, port = seen.address.rpartition(":")
    with closing(socket.create_connection((host, int(port)), 5)) as link:
        link.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert link.recv(100).startswith(b"HTTP/1.")


def test_nothing_to_connect_to_is_ready_when_it_runs(lab: LocalLab) -> None:
    sh(lab, "sleep 100")
    lab.ready()


def test_a_port_that_nobody_opens_is_not_ready(lab: LocalLab) -> None:
    lab.start("web.1", "sh")
    lab.running()
    asked = lab.start("web.2", "good")
    lab.ready(asked.id)  # it was asked as often as the other, and later
    assert lab.seen("web.1").ready_since is None


def test_probes_decide_over_readiness_and_life(lab: LocalLab) -> None:
    """What if it answers, but badly; what if a command says that it should go."""
    quick = {"period_s": 0.05, "failure_threshold": 2}
    probes = Probes(
        startup=Probe(HttpCheck("/index.html"), period_s=0.05),
        readiness=Probe(HttpCheck("/ready"), **quick),  # type: ignore[arg-type]
        liveness=Probe(ExecCheck(("test", "!", "-e", "/dead")), timeout_s=20.0, **quick),  # type: ignore[arg-type]
    )
    lab.start("web.1", "good", probes=probes)
    lab.running()
    inside = Inside(lab.runtime)
    assert inside.execute("web.1", ("touch", "/www/ready"), 30).exit_code == 0
    lab.ready()
    assert inside.execute("web.1", ("rm", "/www/ready"), 30).exit_code == 0
    lab.wait_until(lambda: lab.seen().ready_since is None)
    lab.wait_until(lambda: "GET /ready was answered 404" in lab.seen().problem)
    assert lab.seen().alive
    assert inside.execute("web.1", ("touch", "/dead"), 30).exit_code == 0
    lab.wait_until(lambda: not lab.seen().alive)
    lab.wait_until(lambda: lab.seen().problem == "liveness probe failed: the command exited with 1")


def test_a_frozen_replica_fails_its_probe(lab: LocalLab) -> None:
    probe = Probe(HttpCheck("/"), period_s=0.05, timeout_s=0.2, failure_threshold=2)
    lab.start("web.1", "good", probes=Probes(readiness=probe))
    lab.ready()
    pid = _pid(lab)
    os.kill(pid, signal.SIGSTOP)
    lab.wait_until(lambda: lab.seen().ready_since is None)
    os.kill(pid, signal.SIGCONT)
    lab.ready()


def test_a_socket_is_reached_from_outside(lab: LocalLab) -> None:
    command = ("/usr/bin/python3", "-I", "-c", LISTEN)
    socket_path = "/run/app/http.sock"
    lab.start(
        "web.1", "sh", port=None, socket=socket_path, command=command, volumes=LENT, user="1000"
    )
    seen = lab.ready()
    assert seen.address.endswith("/web.1/socket/http.sock")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(seen.address)
        assert client.recv(5) == b"hello"


def test_a_link_in_place_of_the_socket_leads_nowhere(lab: LocalLab, tmp_path: Path) -> None:
    """What if a replica points at a socket of the host: it would be connected to from outside."""
    target = tmp_path / "host.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(target))
        listener.listen()
        script = f"ln -s {target} /run/app/http.sock; sleep 100"
        command = ("sh", "-c", script)
        lab.start("web.1", "sh", port=None, socket="/run/app/http.sock", command=command)
        path = Path(lab.running().address)
        lab.wait_until(path.is_symlink)
        with socket.socket(socket.AF_UNIX) as client, pytest.raises(OSError, match="symbolic"):
            client.connect(str(path))
    assert lab.seen().ready_since is None


# ---- an end -------------------------------------------------------------------------------------


def _pid(lab: LocalLab, name: str = "web.1") -> int:
    box = lab.runtime.box(name)
    assert box is not None
    return lab.runtime.containers.read(box.container).state.pid


def test_a_killed_replica_is_seen_at_once(lab: LocalLab) -> None:
    lab.start()
    lab.ready()
    news = lab.news
    os.kill(_pid(lab), signal.SIGKILL)
    seen = lab.ended()
    assert seen.exit_code == 137
    assert not seen.oom
    assert seen.ready_since is None
    assert seen.ended_at >= seen.started_at
    assert lab.news > news


def test_one_that_is_deaf_is_killed_when_its_time_is_over(lab: LocalLab) -> None:
    sh(lab, "trap '' TERM; while :; do sleep 1; done")
    lab.running()
    lab.runtime.stop("web.1", 0.3)
    lab.runtime.stop("web.1", 100.0)  # a later wish for more patience changes nothing
    assert lab.ended().exit_code == 137


def test_one_that_is_stopped_before_it_runs_never_stays(lab: LocalLab) -> None:
    lab.start()
    lab.runtime.stop("web.1", 5.0)
    lab.ended()


def test_one_whose_time_is_over_before_it_runs_is_killed(
    lab: LocalLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What if it is asked to end while it is being started, and is deaf to that?"""
    launch = lab.runtime._starter.launch

    def late(box: Box) -> None:
        launch(box)
        box.kill_at = time.monotonic()  # nobody could be killed then

    monkeypatch.setattr(lab.runtime._starter, "launch", late)
    sh(lab, "trap '' TERM; while :; do sleep 1; done")
    assert lab.ended().exit_code == 137


def test_a_removed_replica_leaves_nothing(lab: LocalLab) -> None:
    sh(lab, "exit 0", secrets=(Secret("key"),))
    lab.ended()
    lab.runtime.remove("web.1")
    lab.runtime.remove("web.1")
    folder = Path(lab.home.root, ".scheduler/replicas/web.1")
    lab.wait_until(lambda: not folder.exists())
    assert not lab.runtime.containers.all()


# ---- what may be killed -------------------------------------------------------------------------


def test_the_next_scheduler_takes_over(lab: LocalLab) -> None:
    probes = Probes(readiness=Probe(TcpCheck(), period_s=0.05))
    order = lab.start("web.1", "good", probes=probes, requests=Resources(cpu_millis=100))
    lab.ready()
    sh(lab, "exit 3", "web.2")
    before = lab.ended("web.2")
    lab.runtime.close()
    lab.runtime = lab.another()
    lab.runtime.open()
    taken = lab.seen("web.1")
    assert (taken.phase, taken.revision, taken.address) == (Phase.RUNNING, 3, taken.address)
    assert taken.ready_since is not None, "it was asked before the first look"
    assert taken.ready_since == taken.started_at
    assert taken.loaded_in_s == 0.0, "nobody knows, and it serves"
    box = lab.runtime.box("web.1")
    assert box is not None
    assert box.order == order
    after = lab.seen("web.2")
    times = {"started_at": 0.0, "ended_at": 0.0, "address": "", "loaded_in_s": None}
    assert replace(after, **times) == replace(before, **times)  # type: ignore[arg-type]
    os.kill(_pid(lab), signal.SIGKILL)
    assert lab.ended("web.1").exit_code == 137


def test_another_scheduler_s_containers_are_not_ours(lab: LocalLab) -> None:
    lab.start()
    lab.running()
    other = LocalLab("another")
    other.runtime.open()
    assert not other.runtime.replicas()
    other.runtime.close()


def test_a_container_that_was_never_started_is_told_of(
    lab: LocalLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What if the scheduler was killed between making a container and starting it."""
    monkeypatch.setattr("scheduler.engines.local.LEFT_BEHIND_S", 0.1)
    monkeypatch.setattr(lab.runtime._starter, "launch", lambda _box: None)
    lab.start()
    lab.wait_until(lambda: bool(lab.runtime.containers.all()))
    lab.runtime.close()
    lab.runtime = lab.another()
    lab.runtime.open()
    assert "ended before it was started" in lab.ended().problem


def test_a_killed_launcher_is_replaced(lab: LocalLab) -> None:
    lab.start()
    lab.ready()
    kill_hard(lab.runtime.containers.launcher_pid())
    lab.start("web.2")
    lab.ready("web.2")
    assert lab.seen("web.1").ready_since is not None


def test_a_killed_shim_loses_nothing(lab: LocalLab) -> None:
    lab.start()
    lab.ready()
    box = lab.runtime.box("web.1")
    assert box is not None
    containers, container = lab.runtime.containers, box.container
    state = containers.read(container).state
    kill_hard(state.shim_pid)
    lab.wait_until(lambda: containers.read(container).state.shim_pid != state.shim_pid)
    os.kill(state.pid, signal.SIGKILL)
    assert lab.ended().exit_code == 137


# ---- a look inside ------------------------------------------------------------------------------


def test_logs_go_on_while_it_runs_and_end_with_it(lab: LocalLab) -> None:
    sh(lab, "echo one; echo two; until test -e /go; do sleep 0.1; done; echo bad >&2")
    lab.running()
    inside = Inside(lab.runtime)
    lines = inside.logs("web.1", tail=None)
    assert _wait_for(lab, lines, 2) == [("stdout", "one"), ("stdout", "two")]
    assert inside.execute("web.1", ("touch", "/go"), 30).exit_code == 0
    lab.ended()
    assert [(n.stream, n.text) for n in lines if n] == [("stderr", "bad")]
    assert [n.text for n in inside.logs("web.1", tail=2) if n] == ["two", "bad"]
    with pytest.raises(ScheduleError) as caught:
        inside.logs("web.9", tail=None)
    assert caught.value.status == 404


def _wait_for(lab: LocalLab, lines: Iterator[LogLine | None], count: int) -> list[tuple[str, str]]:
    """Return the next lines that a replica writes."""
    heard: list[tuple[str, str]] = []

    def enough() -> bool:
        line = next(lines)
        if line is not None:
            heard.append((line.stream, line.text))
        return len(heard) == count

    lab.wait_until(enough)
    return heard


def test_logs_of_one_that_says_nothing_do_not_block(lab: LocalLab) -> None:
    sh(lab, "sleep 100")
    lab.running()
    lines = Inside(lab.runtime).logs("web.1", tail=10)
    assert [next(lines), next(lines)] == [None, None]


def test_a_command_is_run_inside(lab: LocalLab) -> None:
    sh(lab, "sleep 100")
    lab.running()
    inside = Inside(lab.runtime)
    done = inside.execute("web.1", ("sh", "-c", "hostname; echo no >&2; exit 4"), 30)
    assert (done.exit_code, done.stdout, done.stderr) == (4, b"web-1\n", b"no\n")
    late = inside.execute("web.1", ("sleep", "77"), 1.5)
    assert (late.exit_code, late.timed_out) == (None, True)
    much = inside.execute("web.1", ("sh", "-c", f"yes | head -c {3 * OUTPUT_BYTES}"), 30)
    assert (len(much.stdout), much.truncated) == (OUTPUT_BYTES, True)
    assert b"77" not in inside.execute("web.1", ("ps",), 30).stdout, "it was killed in time"


def test_a_command_needs_a_replica_that_runs(lab: LocalLab) -> None:
    inside = Inside(lab.runtime)
    with pytest.raises(ScheduleError) as caught:
        inside.execute("web.1", ("true",), 1)
    assert caught.value.status == 404
    sh(lab, "exit 0")
    lab.ended()
    with pytest.raises(ScheduleError) as caught:
        inside.execute("web.1", ("true",), 1)
    assert caught.value.status == 409


def test_images_are_listed_by_name(lab: LocalLab) -> None:
    inside = Inside(lab.runtime)
    assert {"good:latest", "crash:latest", "sh:latest"} <= {i.reference for i in inside.images()}
    assert all(info.size_bytes > 0 for info in inside.images())
    assert inside.has_image("good")
    assert not inside.has_image("missing")


def test_the_host_tells_what_it_has(lab: LocalLab) -> None:
    host = lab.runtime.host()
    assert sum(node.cpu_millis for node in host.nodes) <= 1000 * (os.cpu_count() or 1)
    assert host.nodes[0].gpus == ("/dev/null",)
    assert (host.memory_free_bytes or 0) > 0
    assert not host.cordoned
    lab.cordoned = True
    assert lab.runtime.host().cordoned
