"""``minisched serve`` as a process: how it begins, whom it lets in, what it leaves and refuses."""

from __future__ import annotations

import http.client
import os
import re
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from minirun import MinirunError
from scheduler.binding import Binding, check_certificate
from scheduler.client import ApiError, Client
from scheduler.control.hostpaths import allowed
from scheduler.engines.capacity import Capacity
from scheduler.places import claimed
from tests.scheduler import serve_lab
from tests.scheduler.serve_lab import PATIENCE_S, ROOT, Lab, free_port, mounts_below, processes_of

pytestmark = pytest.mark.requires("root", "overlay", "cgroups", "busybox")


@pytest.fixture
def lab(tiny: Path) -> Iterator[Lab]:
    with serve_lab.lab(tiny) as made:
        yield made


@pytest.fixture(scope="module")
def shared(tiny: Path, pem: Path) -> Iterator[Lab]:
    """Return a lab whose scheduler runs with every option; for tests that end nothing."""
    with serve_lab.lab(tiny) as made:
        (made.top / "lent").mkdir()
        (made.top / "lent/note").write_text("lent")
        os.mknod(made.top / "gpu0", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
        made.start(
            "--listen", f"127.0.0.1:{_TCP}", "--tls-cert", str(pem), "--tls-key", str(pem),
            "--group", "daemon",
            "--allow-mount", f"{made.top}/lent",
            "--gpu", f"{made.top}/gpu0",
        )  # fmt: skip
        made.run_once()
        yield made


@pytest.fixture
def sched(shared: Lab) -> Iterator[Lab]:
    yield shared
    shared.delete_all()


_TCP = free_port()


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a certificate for 127.0.0.1 and its key, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
    files = ("-keyout", str(key), "-out", str(cert))
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    cert.write_text(cert.read_text() + key.read_text())
    return cert


def pids(lab: Lab) -> set[str]:
    """Return the first processes of all containers."""
    names = sorted(lab.containers())
    return set(lab.minirun("inspect", "--format", "{{.State.Pid}}", *names).split())


# ── its end, and who comes next ───────────────────────────────────────────────────────────────


def test_sigterm_ends_the_scheduler_and_nothing_else(lab: Lab) -> None:
    lab.start()
    lab.deploy("web", 2)
    lab.wait_running("web", 2)
    before, proxies = pids(lab), lab.proxies()
    assert lab.stop() == 0
    assert lab.ask("web") == 200
    lab.start()
    lab.wait_running("web", 2)
    assert (pids(lab), lab.proxies()) == (before, proxies)


def test_second_scheduler_on_the_same_folders_is_refused(lab: Lab) -> None:
    lab.start()
    code, said = refused(lab, "--gateway", f"127.0.0.1:{free_port()}")
    assert (code, "another scheduler uses" in said) == (125, True)
    other = {"MINISCHED_RUN": str(lab.top / "run2")}
    code, said = refused(lab, "--gateway", "none", environment=other)
    assert (code, f"another scheduler uses {lab.top}/data" in said) == (125, True)
    assert lab.client.ready(), "the first one has lost nothing"


def test_scaling_down_under_load_loses_nothing(sched: Lab) -> None:
    sched.deploy("web", 4)
    sched.wait_running("web", 4)
    with serve_lab.Load(sched, "web", clients=6) as load:
        for replicas in (1, 3, 2):
            load.wait_for(100)
            sched.client.scale("web", replicas)
            sched.wait_running("web", replicas)
    assert not load.failed


def test_output_of_a_job_can_be_read_when_it_is_done(sched: Lab) -> None:
    job = {"image": "tiny", "kind": "job", "command": ["echo", "the result"]}
    sched.client.apply("sum", job)
    serve_lab.wait_until(lambda: _state(sched, "sum") == "done", "the job is done", sched.told)
    serve_lab.wait_until(lambda: not sched.containers(), "its container is gone", sched.told)
    assert sched("logs", "sum") == "sum.1  the result\n"
    assert sched("logs", "sum.1") == "the result\n"


def _state(lab: Lab, name: str) -> str:
    return str(lab.client.deployment(name)["status"]["state"])


# ── who is let in ─────────────────────────────────────────────────────────────────────────────


def test_socket_is_for_root_and_a_group(sched: Lab) -> None:
    found = (sched.top / "run/api.sock").stat()
    assert stat.S_IMODE(found.st_mode) == 0o660
    assert (found.st_uid, found.st_gid) == (0, 1)


def status(work: Callable[[], object]) -> int:
    """Return the status of what was refused, 200 where it was not."""
    try:
        work()
    except ApiError as error:
        return error.status
    return 200


def over_tcp(pem: Path, token: str = "") -> Client:
    return Client(f"https://127.0.0.1:{_TCP}", token=token, ca_file=str(pem))


def test_tcp_wants_tls_and_a_token_of_the_right_scope(sched: Lab, pem: Path) -> None:
    for scope, expected in SCOPES.items():
        client = over_tcp(pem, sched("token", "create", scope, "--scope", scope).strip())
        asked = (
            status(client.deployments),
            status(partial(client.scale, "nope", 1)),
            status(client.uncordon),
        )
        assert asked == expected, scope
        sched.client.remove_token(scope)
        assert status(client.deployments) == 401, "its token was revoked"
    assert status(over_tcp(pem).deployments) == 401
    assert _plain(_TCP) is None, "nothing is said without TLS"


#: What each scope is answered with: to a look, to a change of what is not there, to an uncordon.
SCOPES = {"read": (200, 403, 403), "deploy": (200, 404, 403), "admin": (200, 404, 200)}


def _plain(port: int) -> int | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


# ── what a replica may have of the host ───────────────────────────────────────────────────────


def refusal(work: Callable[[], object]) -> str:
    """Return what was said when it was refused."""
    with pytest.raises(ApiError) as caught:
        work()
    return f"{caught.value.status} {caught.value.message} {caught.value.hint}"


def test_paths_of_the_host_are_an_admins_to_give(sched: Lab, pem: Path) -> None:
    """What if a token that may only deploy asks for the host's root?"""
    client = over_tcp(pem, sched("token", "create", "ci", "--scope", "deploy").strip())
    lent = f"{sched.top}/lent"

    root = [{"type": "bind", "source": "/", "target": "/host"}]
    said = refusal(lambda: client.apply("spy", serve_lab.spec(volumes=root)))
    assert said.startswith("403 ")
    assert "/volumes/0/source" in said
    assert refusal(lambda: client.preview("spy", serve_lab.spec(volumes=root))).startswith("403")
    below = [{"type": "bind", "source": f"{lent}/note", "target": "/host"}]
    assert refusal(lambda: client.apply("spy", serve_lab.spec(volumes=below))).startswith("403")
    assert refusal(lambda: client.apply("spy", serve_lab.spec(image="/"))).startswith("422")

    sched.client.apply("web", serve_lab.spec(volumes=root, replicas=0))
    client.scale("web", 1)
    changed = {"command": ["cat", "/host/etc/shadow"]}
    assert refusal(lambda: client.patch("web", changed)).startswith("403"), "of another's volume"

    allowed = [{"type": "bind", "source": lent, "target": "/lent"}]
    client.apply("good", serve_lab.spec(volumes=allowed))
    sched.wait_running("good", 1)
    assert "lent" in sched("exec", "good", "cat", "/lent/note")


def test_gpus_are_counted_devices(sched: Lab) -> None:
    device = f"{sched.top}/gpu0"
    one, two = ({"requests": {"gpus": count}} for count in (1, 2))
    sched.deploy("first", 1, resources=one)
    sched.wait_running("first", 1)
    assert "0 0" in sched("exec", "first", "sh", "-c", f"dd if={device} bs=2 count=1 | od")
    said = refusal(lambda: sched.deploy("both", 1, resources=two))
    assert said.startswith("422 /resources/requests: ")
    assert "gpu needs 2, 1 free" in said
    sched.deploy("second", 1, resources=one)
    serve_lab.wait_until(lambda: _pending(sched, "second"), "the second waits", sched.told)
    assert "gpu needs 1, 0 free" in _pending(sched, "second")


def _pending(lab: Lab, name: str) -> str:
    return str(lab.client.deployment(name)["status"]["pending"])


# ── what it refuses ───────────────────────────────────────────────────────────────────────────


def refused(lab: Lab, *words: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
    """Return the exit code of a scheduler that does not begin, and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "scheduler.cli", "serve", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        cwd=ROOT,
        env={**os.environ, **lab.environment, **(environment or {})},
    )
    assert "Traceback" not in done.stderr
    error, _, hint = done.stderr.partition("\n")
    assert error.startswith("minisched: ")
    assert hint.startswith("hint: "), done.stderr
    return done.returncode, error


def test_serve_refuses_what_cannot_be_with_one_error(lab: Lab, pem: Path) -> None:
    tls = ("--tls-cert", str(pem), "--tls-key", str(pem))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        rows: tuple[tuple[tuple[str, ...], str], ...] = (
            (("--listen", "127.0.0.1:1", "--tls-cert", "/no/cert", "--tls-key", str(pem)),
             "/no/cert: no such file"),
            (("--listen", f"127.0.0.1:{port}", *tls),
             f"cannot listen at 127.0.0.1:{port}: address already in use"),
            (("--gateway", f"127.0.0.1:{port}"), "did not start"),
        )  # fmt: skip
        for words, reason in rows:
            code, said = refused(lab, *words)
            assert (code, reason in said) == (125, True), said
    assert processes_of(lab.top) == [], "what was refused has left nothing running"


def test_each_option_that_cannot_be_is_named(tmp_path: Path, pem: Path) -> None:
    rubbish, sock = tmp_path / "rubbish.pem", tmp_path / "sock"
    rubbish.write_text("rubbish")
    rows: tuple[tuple[Callable[[], object], str], ...] = (
        (lambda: check_certificate(rubbish, pem), "are no certificate and its key"),
        (lambda: Binding(sock, address="host:1").check(), "needs TLS"),
        (lambda: Binding(sock, address="localhost", cert=pem, key=pem).listen(), "has no port"),
        (lambda: Binding(sock, group="nobody-has-this").listen(), "there is no group"),
        (lambda: Binding(tmp_path / ("x" * 108)).listen(), "path too long"),
        (lambda: Capacity(["/dev/no-such-gpu"]), "--gpu /dev/no-such-gpu: no such file"),
        (lambda: Capacity([str(pem)]), "is not one more device"),
        (lambda: Capacity(["/dev/null", "/dev/null"]), "is not one more device"),
        (lambda: allowed(["here"]), "--allow-mount 'here' is not a plain path"),
        (lambda: allowed(["/srv/../etc"]), "is not a plain path"),
        (lambda: allowed(["/srv", "/srv/a"]), "--allow-mount /srv/a lies in --allow-mount /srv"),
    )
    for begin, reason in rows:
        with pytest.raises(MinirunError, match=re.escape(reason)) as caught:
            begin()
        assert caught.value.hint


def test_serve_refuses_a_data_folder_that_cannot_be_written(lab: Lab) -> None:
    data = lab.top / "data"
    data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "minirun-test", data], check=True)
    code, said = refused(lab, "--gateway", "none")
    assert (code, f"{data}: read-only file system" in said) == (125, True)


def test_places_are_one_schedulers(tmp_path: Path) -> None:
    """What if another process of the same user asks for the folder?"""
    run = tmp_path / "run"
    with claimed(run), pytest.raises(MinirunError, match="another scheduler uses"), claimed(run):
        pytest.fail("both have it")
    with claimed(run):
        assert run.is_dir()


# ── the end of all of it ──────────────────────────────────────────────────────────────────────


def test_shutdown_answers_what_is_in_flight_and_leaves_nothing(lab: Lab) -> None:
    lab.start()
    lab.deploy("web", 2)
    lab.wait_running("web", 2)
    statuses: list[int] = []
    slow = threading.Thread(target=lambda: statuses.append(lab.ask("web", "/cgi-bin/slow")))
    slow.start()
    serve_lab.wait_until(lambda: _in_flight(lab) > 0, "the request is in flight", lab.told)
    assert "ended, with 2 replicas" in lab("shutdown")
    slow.join()
    assert statuses == [200]
    assert lab.server is not None
    assert lab.server.wait(PATIENCE_S) == 0
    assert processes_of(lab.top) == []
    assert mounts_below(lab.top) == []
    assert lab.containers() == set()


def _in_flight(lab: Lab) -> int:
    return sum(row["in_flight"] for row in lab.client.replicas("web"))


def test_shutdown_after_a_kill_and_the_next_serve_starts_all_again(lab: Lab) -> None:
    lab.start()
    lab.deploy("web", 1)
    lab.wait_running("web", 1)
    lab.kill()
    assert "ended, with 1 replica" in lab("shutdown", "--grace", "0")
    assert processes_of(lab.top) == []
    assert "ended, with 0 replicas" in lab("shutdown")
    lab.start()
    lab.wait_running("web", 1)
    assert lab.ask("web") == 200


def test_shutdown_is_for_this_host_alone(lab: Lab) -> None:
    elsewhere = {"MINISCHED_ADDRESS": "https://lab.example:8443"}
    said = lab("shutdown", check=False, environment=elsewhere)
    assert "shutdown is for this host, not for https://lab.example:8443" in said
