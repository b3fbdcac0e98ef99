"""``minisched serve`` as a process: how it begins, whom it lets in, what it leaves and refuses."""

from __future__ import annotations

import http.client
import os
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
from scheduler.client import ApiError, Client
from scheduler.places import claimed
from tests.scheduler import serve_lab
from tests.scheduler.serve_lab import PATIENCE_S, ROOT, Lab, free_port, mounts_below, processes_of

pytestmark = pytest.mark.requires("root", "overlay", "cgroups", "busybox")


@pytest.fixture
def lab(tiny: Path) -> Iterator[Lab]:
    with serve_lab.lab(tiny) as made:
        yield made


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


def test_scaling_down_under_load_loses_nothing(lab: Lab) -> None:
    lab.start()
    lab.deploy("web", 4)
    lab.wait_running("web", 4)
    with serve_lab.Load(lab, "web", clients=6) as load:
        for replicas in (1, 4, 2):
            load.wait_for(100)
            lab.client.scale("web", replicas)
            lab.wait_running("web", replicas)
    assert not load.failed


def test_output_of_a_job_can_be_read_when_it_is_done(lab: Lab) -> None:
    lab.start()
    job = {"image": "tiny", "kind": "job", "command": ["echo", "the result"]}
    lab.client.apply("sum", job)
    serve_lab.wait_until(lambda: _state(lab, "sum") == "done", "the job is done", lab.told)
    serve_lab.wait_until(lambda: not lab.containers(), "its container is gone", lab.told)
    assert lab("logs", "sum") == "sum.1  the result\n"
    assert lab("logs", "sum.1") == "the result\n"


def _state(lab: Lab, name: str) -> str:
    return str(lab.client.deployment(name)["status"]["state"])


# ── who is let in ─────────────────────────────────────────────────────────────────────────────


def test_socket_is_for_root_and_a_group(lab: Lab) -> None:
    lab.start("--group", "daemon")
    found = (lab.top / "run/api.sock").stat()
    assert stat.S_IMODE(found.st_mode) == 0o660
    assert (found.st_uid, found.st_gid) == (0, 1)


def status(work: Callable[[], object]) -> int:
    """Return the status of what was refused, 200 where it was not."""
    try:
        work()
    except ApiError as error:
        return error.status
    return 200


def test_tcp_wants_tls_and_a_token_of_the_right_scope(lab: Lab, pem: Path) -> None:
    port = free_port()
    files = ("--tls-cert", str(pem), "--tls-key", str(pem))
    lab.start("--listen", f"127.0.0.1:{port}", *files)
    held = {scope: lab("token", "create", scope, "--scope", scope).strip() for scope in SCOPES}
    for scope, expected in SCOPES.items():
        client = Client(f"https://127.0.0.1:{port}", token=held[scope], ca_file=str(pem))
        asked = (
            status(client.deployments),
            status(partial(client.scale, "nope", 1)),
            status(client.cordon),
        )
        assert asked == expected, scope
    nobody = Client(f"https://127.0.0.1:{port}", ca_file=str(pem))
    assert status(nobody.deployments) == 401
    lab.client.remove_token("read")
    late = Client(f"https://127.0.0.1:{port}", token=held["read"], ca_file=str(pem))
    assert status(late.deployments) == 401
    assert _plain(port) is None, "nothing is said without TLS"


#: What each scope is answered with: to a look, to a change of what is not there, to a cordon.
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


def test_paths_of_the_host_are_an_admins_to_give(lab: Lab, pem: Path) -> None:
    """What if a token that may only deploy asks for the host's root?"""
    port, lent = free_port(), lab.top / "lent"
    lent.mkdir()
    (lent / "note").write_text("lent")
    files = ("--tls-cert", str(pem), "--tls-key", str(pem))
    lab.start("--listen", f"127.0.0.1:{port}", *files, "--allow-mount", str(lent))
    token = lab("token", "create", "ci", "--scope", "deploy").strip()
    client = Client(f"https://127.0.0.1:{port}", token=token, ca_file=str(pem))

    root = [{"type": "bind", "source": "/", "target": "/host"}]
    said = refusal(lambda: client.apply("spy", serve_lab.spec(volumes=root)))
    assert said.startswith("403 ")
    assert "/volumes/0/source" in said
    assert refusal(lambda: client.preview("spy", serve_lab.spec(volumes=root))).startswith("403")
    below = [{"type": "bind", "source": f"{lent}/note", "target": "/host"}]
    assert refusal(lambda: client.apply("spy", serve_lab.spec(volumes=below))).startswith("403")
    assert refusal(lambda: client.apply("spy", serve_lab.spec(image="/"))).startswith("422")

    lab.client.apply("web", serve_lab.spec(volumes=root))
    client.scale("web", 2)
    changed = {"command": ["cat", "/host/etc/shadow"]}
    assert refusal(lambda: client.patch("web", changed)).startswith("403"), "of another's volume"

    allowed = [{"type": "bind", "source": str(lent), "target": "/lent"}]
    client.apply("good", serve_lab.spec(volumes=allowed))
    lab.wait_running("good", 1)
    assert "lent" in lab("exec", "good", "cat", "/lent/note")


def test_gpus_are_counted_devices(lab: Lab) -> None:
    device = str(lab.top / "gpu0")
    os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    lab.start("--gpu", device)
    one, two = ({"requests": {"gpus": count}} for count in (1, 2))
    lab.deploy("first", 1, resources=one)
    lab.wait_running("first", 1)
    assert "0 0" in lab("exec", "first", "sh", "-c", f"dd if={device} bs=2 count=1 | od")
    said = refusal(lambda: lab.deploy("both", 1, resources=two))
    assert said.startswith("422 /resources/requests: ")
    assert "gpu needs 2, 1 free" in said
    lab.deploy("second", 1, resources=one)
    serve_lab.wait_until(lambda: _pending(lab, "second"), "the second waits", lab.told)
    assert "gpu needs 1, 0 free" in _pending(lab, "second")


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


def test_serve_refuses_what_cannot_be_with_one_error(lab: Lab, pem: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        rubbish = tmp_path / "rubbish.pem"
        rubbish.write_text("rubbish")
        rows: tuple[tuple[tuple[str, ...], str], ...] = (
            (("--listen", "127.0.0.1:1", "--tls-cert", "/no/cert", "--tls-key", str(pem)),
             "/no/cert: no such file"),
            (("--listen", "127.0.0.1:1", "--tls-cert", str(rubbish), "--tls-key", str(pem)),
             "no certificate and its key"),
            (("--listen", f"127.0.0.1:{port}", "--tls-cert", str(pem), "--tls-key", str(pem)),
             f"cannot listen at 127.0.0.1:{port}: address already in use"),
            (("--listen", "localhost", "--tls-cert", str(pem), "--tls-key", str(pem)),
             "it has no port"),
            (("--gateway-tls", "127.0.0.1:1", "--gateway-pem", str(rubbish)), "no certificate"),
            (("--gateway", f"127.0.0.1:{port}"), "did not start"),
            (("--gpu", "/dev/no-such-gpu"), "--gpu /dev/no-such-gpu: no such file"),
            (("--gpu", str(pem)), "is not one more device"),
            (("--allow-mount", "here"), "--allow-mount 'here' is not a plain path"),
            (("--allow-mount", "/srv", "--allow-mount", "/srv/a"), "lies in --allow-mount /srv"),
            (("--group", "nobody-has-this"), "there is no group 'nobody-has-this'"),
        )  # fmt: skip
        for words, reason in rows:
            code, said = refused(lab, *words)
            assert (code, reason in said) == (125, True), said
    assert processes_of(lab.top) == [], "what was refused has left nothing running"


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
    assert "ended, with 1 replicas" in lab("shutdown", "--grace", "0")
    assert processes_of(lab.top) == []
    assert "ended, with 0 replicas" in lab("shutdown")
    lab.start()
    lab.wait_running("web", 1)
    assert lab.ask("web") == 200


def test_shutdown_is_for_this_host_alone(lab: Lab) -> None:
    elsewhere = {"MINISCHED_ADDRESS": "https://lab.example:8443"}
    said = lab("shutdown", check=False, environment=elsewhere)
    assert "shutdown is for this host, not for https://lab.example:8443" in said
