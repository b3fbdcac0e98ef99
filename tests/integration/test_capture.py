"""The Python of this host as an image: it works, says nothing of the host, and is reproducible."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from minirun.errors import HostError, ImageError
from minirun.image import capture
from minirun.image.build_executor import RunStep
from minirun.image.capture_libraries import Linker
from minirun.image.capture_python import probe
from minirun.image.capture_tree import extension_modules
from minirun.image.elf import parse
from minirun.image.store import Image, Store
from tests.integration.build_lab import ChrootExecutor

pytestmark = pytest.mark.requires("root", "overlay")

_IMPORTS = """
import bz2, ctypes, curses, datetime, decimal, hashlib, json, lzma, multiprocessing, os, readline
import socket, sqlite3, ssl, sys, sysconfig, uuid, venv, zlib, zoneinfo
ctypes.CDLL("libstdc++.so.6")
sqlite3.connect(":memory:").execute("select 1")
print(json.dumps({
    "version": sys.version.split()[0],
    "prefix": sys.prefix,
    "path": [p for p in sys.path if p],
    "authorities": len(ssl.create_default_context().get_ca_certs()) > 50,
    "lisbon": str(datetime.datetime(2024, 7, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Lisbon"))),
    "encoding": sys.getfilesystemencoding(),
    "cached": os.path.exists(json.__cached__),
    "resolves": socket.gethostbyname("localhost"),
}))
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Return an empty store."""
    return Store(str(tmp_path_factory.mktemp("capture") / "store"))


@pytest.fixture(scope="module")
def captured(store: Store) -> Image:
    """Return the image of the Python that runs the tests."""
    return capture.capture(store)


def _run(image: Image, argv: Sequence[str], tmp_path: Path) -> tuple[int, str]:
    for name in ("upper", "work"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name).chmod(0o755)
    env = dict(pair.split("=", 1) for pair in image.config.config.env)
    lowers = tuple(Path(lower) for lower in image.lower_dirs())
    step = RunStep(lowers, tmp_path / "upper", tmp_path / "work", tuple(argv), env)
    shown: list[bytes] = []
    status = ChrootExecutor().run(step, shown.append)
    return status, b"".join(shown).decode()


def _works(image: Image, tmp_path: Path, prefix: str, version: str) -> None:
    status, shown = _run(image, ["python", "-c", _IMPORTS], tmp_path)
    assert status == 0, shown
    found = json.loads(shown.splitlines()[-1])
    assert found["version"] == version
    assert found["prefix"] == prefix
    assert all(path.startswith("/usr/") for path in found["path"])
    assert found["lisbon"] == "2024-07-01 00:00:00+01:00"
    assert (found["authorities"], found["cached"], found["encoding"]) == (True, True, "utf-8")
    status, shown = _run(image, ["pip", "--version"], tmp_path)
    assert status == 0, shown
    assert f"(python {'.'.join(version.split('.')[:2])})" in shown


def test_captured_python_works_inside(captured: Image, tmp_path: Path) -> None:
    prefix = "/usr" if sys.base_prefix == "/usr" else "/usr/local"
    _works(captured, tmp_path, prefix, sys.version.split()[0])


def test_distribution_python_works_inside(store: Store, tmp_path: Path) -> None:
    """Debian splits its Python over several folders, and patches where packages go."""
    system = "/usr/bin/python3"
    if not os.path.exists(system):
        system = sys.executable
    image = capture.capture(store, python=system, tag="distribution")
    found = probe(system)
    _works(image, tmp_path, found.image_prefix, found.version)


def test_capture_is_reproducible(captured: Image, tmp_path: Path) -> None:
    again = capture.capture(Store(str(tmp_path / "other")))
    assert again.descriptor.digest == captured.descriptor.digest


def test_captured_image_is_named_and_configured(captured: Image) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert captured.familiar_names == (f"minirun/python:{version}",)
    assert "LANG=C.UTF-8" in captured.config.config.env
    assert captured.config.config.cmd == ("python3",)


def test_captured_image_has_no_packages_or_tests_of_the_host(captured: Image) -> None:
    top = Path(captured.lower_dirs()[0])
    names = {path.name for path in top.rglob("*")}
    assert not {"idlelib", "turtledemo", "tkinter", "pytest", "EXTERNALLY-MANAGED"} & names
    packages = next(top.glob("usr/local/lib/python3*/*-packages"))
    assert {path.name.partition("-")[0] for path in packages.iterdir()} <= {"pip", "README.txt"}
    assert not list(top.glob("usr/lib*/python3*/test")) + list(top.glob("usr/local/lib/*/test"))
    texts = [p for p in top.rglob("_sysconfigdata*.py") if sys.base_prefix != "/usr"]
    assert not [p for p in texts if sys.base_prefix in p.read_text()]


def test_captured_image_has_a_shell_users_and_sticky_tmp(captured: Image, tmp_path: Path) -> None:
    script = "id -un; ls -ld /tmp | cut -c1-10; date -d @0 +%Z; command -v env wget vi"
    status, shown = _run(captured, ["sh", "-c", script], tmp_path)
    assert status == 0, shown
    assert shown.splitlines()[:3] == ["root", "drwxrwxrwt", "UTC"]


def test_libraries_are_those_that_ldd_names() -> None:
    python = probe(sys.executable)
    facts = parse(Path(python.executable).read_bytes())
    files = [python.executable, *extension_modules(python)]
    found = {
        lib.name: os.path.realpath(lib.path)
        for lib in Linker(facts.machine, facts.bits).closure(files)
    }
    listed = subprocess.run(["ldd", *files], capture_output=True, text=True, check=False).stdout
    pairs = [line.split() for line in listed.splitlines() if "=> /" in line]
    theirs = {words[0]: os.path.realpath(words[2]) for words in pairs}
    assert {n: p for n, p in found.items() if not n.startswith("ld-")} == theirs


def test_virtual_environment_goes_along(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(path)], check=True)
    packages = next(path.glob("lib/python3*/site-packages"))
    (packages / "mine.py").write_text("def main():\n    print('mine', __file__)\n")
    program = path / "bin" / "mine"
    program.write_text(f"#!{path}/bin/python\nimport mine\nmine.main()\n")
    program.chmod(0o755)
    image = capture.capture(store, venv=path, tag="with-venv")
    assert len(image.layers) == 2
    status, shown = _run(image, ["mine"], tmp_path)
    assert (status, shown.split()[0]) == (0, "mine"), shown
    assert str(tmp_path) not in shown
    assert f"{Path(shown.split()[1]).parent}" == probe(sys.executable).image_packages


@pytest.mark.parametrize("pointer", ["/home/somebody/project\n", "import __editable___x_finder\n"])
def test_editable_package_is_refused(store: Store, tmp_path: Path, pointer: str) -> None:
    path = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(path)], check=True)
    (next(path.glob("lib/python3*/site-packages")) / "x.pth").write_text(pointer)
    with pytest.raises(ImageError, match=r"x\.pth points to a folder of this host") as caught:
        capture.capture(store, venv=path)
    assert "without -e" in caught.value.hint


def test_what_cannot_be_captured_is_explained(store: Store, tmp_path: Path) -> None:
    with pytest.raises(HostError, match="No such file"):
        probe("/nonexistent/python")
    with pytest.raises(HostError, match="cannot be captured"):
        probe("/bin/false")
    with pytest.raises(ImageError, match="is not a virtual environment"):
        capture.capture(store, venv=tmp_path)
    with pytest.raises(ImageError, match=r"no such image: minirun/python:2\.6") as caught:
        capture.capture_named(store, "minirun/python:2.6")
    assert f"minirun/python:{sys.version_info.major}.{sys.version_info.minor}" in caught.value.hint


def test_capture_by_name_gives_every_name_of_this_version(store: Store, captured: Image) -> None:
    full = sys.version.split()[0]
    for tag in ("", ":latest", f":{full}"):
        image = capture.capture_named(store, f"minirun/python{tag}")
        assert image.id == captured.id
        assert store.resolve(f"minirun/python{tag}").id == captured.id
