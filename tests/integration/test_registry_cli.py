"""``minirun pull push login logout search``, as a person calls them."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from minirun.image.store import Store

from .cli_lab import MINIRUN
from .image_lab import make_image
from .registry_lab import registry

pytestmark = pytest.mark.requires("root", "docker-registry")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry(tmp_path_factory.mktemp("registry"), htpasswd=True) as running:
        yield running


class Lab:
    def __init__(self, tmp_path: Path) -> None:
        content = tmp_path / "content"
        content.mkdir()
        (content / "file").write_bytes(os.urandom(100_000))
        self.store = Store(str(tmp_path / "data"))
        self.image = make_image(self.store, content, "app:1")
        self.environment = {
            **os.environ,
            "MINIRUN_DATA": self.store.root,
            "MINIRUN_ROOT": str(tmp_path / "run"),
            "DOCKER_CONFIG": str(tmp_path / "docker"),
        }

    def __call__(self, *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [MINIRUN, *argv],
            input=stdin, capture_output=True, text=True, check=False, env=self.environment,
        )  # fmt: skip

    def log_in(self, host: str) -> None:
        done = self("login", "-u", "ada", "--password-stdin", host, stdin="secret\n")
        assert done.returncode == 0, done.stderr


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_login_push_pull_search_logout(lab: Lab, host: str) -> None:
    refused = lab("pull", f"{host}/cli/app:1")
    assert refused.returncode == 125
    assert f"hint: minirun login {host}" in refused.stderr
    lab.log_in(host)
    lab("tag", "app:1", f"{host}/cli/app:1")
    pushed = lab("push", f"{host}/cli/app:1")
    digest = lab.image.descriptor.digest
    assert pushed.stdout.startswith(f"{host}/cli/app:1: digest: {digest} size: ")
    assert pushed.stderr.count("Pushed") == 2
    found = json.loads(lab("search", "--format", "json", f"{host}/app").stdout)["Name"]
    assert found == f"{host}/cli/app"
    lab.store.remove(lab.image.id, force=True)
    lab.store.gc()
    pulled = lab("pull", f"{host}/cli/app:1")
    layer = lab.image.manifest.layers[0].digest[7:19]
    assert pulled.stderr == f"{layer}: Pull complete\n"
    assert pulled.stdout.splitlines() == [
        f"Digest: {digest}",
        f"Status: Downloaded newer image for {host}/cli/app:1",
        f"{host}/cli/app:1",
    ]
    assert "Image is up to date" in lab("pull", f"{host}/cli/app:1").stdout
    assert lab("pull", "-q", "-a", f"{host}/cli/app").stdout == f"{host}/cli/app:1\n"
    assert lab("logout", host).returncode == 0
    assert lab("logout", host).returncode == 125


def test_wrong_password_is_told_and_not_kept(lab: Lab, host: str) -> None:
    done = lab("login", "-u", "ada", "--password-stdin", host, stdin="wrong")
    assert done.returncode == 125
    assert "does not accept user 'ada'" in done.stderr
    assert not Path(lab.environment["DOCKER_CONFIG"], "config.json").exists()
    assert lab("login", host).returncode != 0  # nobody is there to be asked


def test_terminal_gets_bars(lab: Lab, host: str) -> None:
    lab.log_in(host)
    lab("tag", "app:1", f"{host}/cli/bars:1")
    near, far = pty.openpty()
    argv = [str(MINIRUN), "push", f"{host}/cli/bars:1"]
    with subprocess.Popen(
        argv, stderr=far, stdout=subprocess.DEVNULL, env=lab.environment
    ) as process:
        os.close(far)
        shown = b""
        try:
            while data := os.read(near, 65536):
                shown += data
        except OSError:  # EIO: the other side has closed it
            pass
        os.close(near)
    assert process.returncode == 0
    assert b"Pushed" in shown
    assert lab.image.manifest.layers[0].digest[7:19].encode() in shown


def test_default_registry_may_be_none(lab: Lab) -> None:
    lab.environment["MINIRUN_DEFAULT_REGISTRY"] = "none"
    done = lab("pull", "ubuntu")
    assert done.returncode == 125
    assert "no registry" in done.stderr
    assert "hint: write it as HOST/NAME" in done.stderr
