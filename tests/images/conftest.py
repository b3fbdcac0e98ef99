"""Run each model image's own server, trained by its own script, without a container.

What a container adds (the root filesystem, the limits, the network) is tested where containers
are. Here the question is whether the program inside is sound, so it runs as a child process
behind a Unix socket: the real gunicorn, the real model, no stand-in.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import httpx
import pytest

IMAGES = Path(__file__).parents[2] / "images"
MODELS = ("iris", "digits", "sentiment")


@dataclass(frozen=True, slots=True)
class Server:
    """A running model server.

    Args:
        name: the model's, which is also its image directory's.
        folder: the image directory, copied and with its model trained.
        process: gunicorn's first process.
        socket: where it listens.
        client: an HTTP client on that socket.
    """

    name: str
    folder: Path
    process: subprocess.Popen[bytes]
    socket: Path
    client: httpx.Client


@pytest.fixture(scope="session")
def image_python(pytestconfig: pytest.Config) -> Path:
    """Return a Python that has exactly the images' requirements.

    That is the running one, where the `test` extra was installed; otherwise an environment kept
    in pytest's cache and made anew when the requirements change.
    """
    requirements = IMAGES / "iris" / "requirements.txt"
    if _satisfied(requirements):
        return Path(sys.executable)
    home = pytestconfig.cache.mkdir(f"images-venv-{_digest(requirements)}")
    python = home / "bin" / "python"
    if not (home / "complete").exists():
        venv.create(home, with_pip=True, clear=True)
        install: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "-r", requirements]
        subprocess.run(install, check=True)
        (home / "complete").touch()
    return python


@pytest.fixture(scope="session")
def trained(
    image_python: Path, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Return a copy of each image directory with its model in it, as in the image's /app.

    Training is repeated only when something it reads has changed, as in the build's own cache.
    """
    folders = {}
    for name in MODELS:
        folder = tmp_path_factory.mktemp("images") / name
        shutil.copytree(IMAGES / name, folder, ignore=shutil.ignore_patterns("model"))
        inputs = (folder / "requirements.txt", folder / "train.py", *sorted(folder.glob("*.txt")))
        cache = pytestconfig.cache.mkdir(f"images-{name}-{_digest(*inputs)}")
        if not any(cache.iterdir()):
            subprocess.run([image_python, "train.py"], cwd=folder, check=True)
            shutil.copytree(folder / "model", cache, dirs_exist_ok=True)
        shutil.copytree(cache, folder / "model", dirs_exist_ok=True)
        folders[name] = folder
    return folders


@pytest.fixture(scope="session", params=MODELS)
def server(
    request: pytest.FixtureRequest, image_python: Path, trained: dict[str, Path]
) -> Iterator[Server]:
    """Return one server per image, shared by the tests that do not stop it."""
    with serving(image_python, trained[request.param]) as running:
        yield running


@pytest.fixture(scope="session")
def iris(image_python: Path, trained: dict[str, Path]) -> Iterator[Server]:
    """Return the iris server, for what one model is enough to show."""
    with serving(image_python, trained["iris"]) as running:
        yield running


@contextmanager
def serving(python: Path, folder: Path) -> Iterator[Server]:
    """Start the image's CMD in a folder, wait until it answers, stop it at the end."""
    command: list[str | Path] = [python, "-m", "gunicorn", "serve:app"]
    with ExitStack() as stack:
        # A short path, as a socket's has 108 bytes, and outside the folder, read-only in an image.
        socket = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "socket"
        environment = os.environ | {"PORT": "0", "MINIRUN_SOCKET": str(socket)}
        process = stack.enter_context(subprocess.Popen(command, cwd=folder, env=environment))
        stack.callback(process.terminate)
        _await_socket(process, socket)
        transport = httpx.HTTPTransport(uds=str(socket))
        client = httpx.Client(transport=transport, base_url="http://model", timeout=20)
        yield Server(folder.name, folder, process, socket, stack.enter_context(client))


def _await_socket(process: subprocess.Popen[bytes], socket: Path) -> None:
    """Return once the server listens, which it does only after it has loaded its model."""
    while not socket.exists():
        try:
            status = process.wait(timeout=0.02)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(f"the server ended with status {status} before it listened")


def _satisfied(requirements: Path) -> bool:
    """Return whether this interpreter has every pinned version."""
    lines = requirements.read_text().splitlines()
    pins = [line.split("==") for line in lines if "==" in line]
    try:
        return all(metadata.version(name) == version for name, version in pins)
    except metadata.PackageNotFoundError:
        return False


def _digest(*files: Path) -> str:
    """Name the content of files, and the Python version whose pickles and wheels it gives."""
    content = b"".join(file.read_bytes() for file in files) + sys.version.encode()
    return hashlib.sha256(content).hexdigest()[:12]
