"""What a program needs, read from its text and its environment's metadata."""

from __future__ import annotations

import pickle
import sys
import zlib
from collections import OrderedDict
from pathlib import Path

import pytest

from minirun.errors import ImageError
from minirun.image import dockerfile
from minirun.image.pack_distributions import Packages
from minirun.image.pack_imports import Import, trace
from minirun.image.pack_model import modules_in
from minirun.image.pack_program import command, health_test, read_program


def write(folder: Path, more: dict[str, str] | None = None, **files: str) -> Path:
    """Write modules."""
    for name, text in {**files, **(more or {})}.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def install(packages: Path, name: str, *files: str, requires: tuple[str, ...] = ()) -> None:
    """Make a distribution as pip leaves it."""
    info = packages / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    lines = [f"Requires-Dist: {text}\n" for text in requires]
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{''.join(lines)}"
    )
    for file in files:
        (packages / file).parent.mkdir(parents=True, exist_ok=True)
        (packages / file).touch()
    (info / "RECORD").write_text("".join(f"{f},,\n" for f in (*files, f"{info.name}/METADATA")))


# ── imports ───────────────────────────────────────────────────────────────────────────────────


def test_trace_follows_own_files_and_names_the_rest(tmp_path: Path) -> None:
    package = {
        "lib/__init__": "",
        "lib/helper": "from . import other\nfrom ..x import y\n",
        "lib/other": "def f():\n    import importlib\n    importlib.import_module('late.one')\n",
        "lib/tests/test_it": "import pytest",
    }
    write(
        tmp_path,
        package,
        serve="import os, numpy as np\nfrom lib import helper\nimport single\n",
        single="import sklearn.pipeline",
        unused="import torch",
    )
    (tmp_path / "lib/data.json").touch()
    found = trace(tmp_path, ["serve.py"])
    assert found.files == (
        *("lib/__init__.py", "lib/data.json", "lib/helper.py", "lib/other.py"),
        *("serve.py", "single.py"),
    )
    assert {one.top for one in found.imports} >= {"numpy", "sklearn", "late"}
    assert not {one.top for one in found.imports} & {"os", "torch", "pytest", "lib"}


def test_trace_knows_what_may_be_missing(tmp_path: Path) -> None:
    write(
        tmp_path,
        serve="try:\n    import fast\nexcept ImportError:\n    import slow\n"
        "import typing\nif typing.TYPE_CHECKING:\n    import only_types\n",
    )
    found = {one.top: one.may_fail for one in trace(tmp_path, ["serve.py"]).imports}
    assert found == {"fast": True, "slow": False}


@pytest.mark.parametrize(("text", "told"), [("def (", "is not Python"), ("\0", "is not Python")])
def test_trace_names_a_file_that_is_not_python(tmp_path: Path, text: str, told: str) -> None:
    write(tmp_path, serve=text)
    with pytest.raises(ImageError, match=told):
        trace(tmp_path, ["serve.py"])


# ── distributions ─────────────────────────────────────────────────────────────────────────────


def needed(packages: Path, *modules: str, also: tuple[str, ...] = ()) -> list[str]:
    imports = [Import(module, "serve.py:1") for module in modules]
    return Packages(packages, "3.11.7").needed(imports, also)


def test_needed_follows_requirements_with_markers_and_extras(tmp_path: Path) -> None:
    requires = ("low>=1", 'old; python_version < "3.0"', 'fancy; extra == "more"', "third[x]")
    install(tmp_path, "Top-Level", "top/__init__.py", requires=requires)
    install(tmp_path, "low", "low.py")
    install(tmp_path, "fancy", "fancy.py")
    install(
        tmp_path, "third", "third.cpython-311-x86_64-linux-gnu.so", requires=('deep; extra == "x"',)
    )
    install(tmp_path, "deep", "deep/a.py", requires=("Top_Level",))
    install(tmp_path, "unrelated", "unrelated.py")
    assert needed(tmp_path, "top.part") == ["deep", "low", "third", "top-level"]
    assert "fancy" in needed(tmp_path, "low", also=("top.level[more]",))
    assert needed(tmp_path, "third") == ["third"]


def test_needed_chooses_within_a_shared_namespace(tmp_path: Path) -> None:
    install(tmp_path, "g-storage", "google/cloud/storage/__init__.py")
    install(tmp_path, "g-query", "google/cloud/query/__init__.py")
    assert needed(tmp_path, "google.cloud.storage.Client") == ["g-storage"]
    assert needed(tmp_path, "google") == ["g-query", "g-storage"]


def test_needed_says_what_is_missing_and_where_it_is_imported(tmp_path: Path) -> None:
    install(tmp_path, "half", "half.py", requires=("gone",))
    with pytest.raises(ImageError, match=r"serve\.py:1 imports nowhere"):
        needed(tmp_path, "nowhere")
    with pytest.raises(ImageError, match="gone is required, but not installed"):
        needed(tmp_path, "half")
    optional = [Import("nowhere", "serve.py:1", may_fail=True)]
    assert Packages(tmp_path, "3.11.7").needed(optional) == []


def test_files_of_an_editable_install_are_refused(tmp_path: Path) -> None:
    install(tmp_path, "mine", "__editable__.mine-1.0.pth")
    with pytest.raises(ImageError, match="pointer to its sources") as caught:
        Packages(tmp_path, "3.11.7").files("mine")
    assert "without -e" in caught.value.hint


# ── models ────────────────────────────────────────────────────────────────────────────────────


class Custom:
    """Something that a pickle names."""


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("packed", [False, True])
def test_modules_in_a_pickle_are_named_without_reading_it(
    tmp_path: Path, protocol: int, packed: bool
) -> None:
    data = pickle.dumps(OrderedDict(a=pickle.PickleError("x")), protocol)
    (tmp_path / "model").write_bytes(zlib.compress(data) if packed else data)
    found = modules_in(tmp_path / "model")
    assert any(name.partition(".")[0] in ("collections", "_pickle", "pickle") for name in found)


def test_modules_in_other_files_are_none(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"\x08\x07onnx\x8c\x07sklearn")
    assert modules_in(tmp_path / "model") == set()


# ── programs ──────────────────────────────────────────────────────────────────────────────────

FLASK = "from flask import Flask\napp = Flask(__name__)\n@app.get('/healthz')\ndef h(): pass\n"
FASTAPI = "import fastapi\napi: object = fastapi.FastAPI()\n"
SCRIPT = (
    "import os\nif __name__ == '__main__':\n    serve(port=int(os.environ.get('PORT', '9000')))\n"
)


def started(text: str, **versions: str) -> tuple[str, ...]:
    return command(read_program(text), lambda name: versions.get(name, ""))


def test_read_program_recognises_applications(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write(tmp_path, {"pkg/main": FASTAPI}, serve=FLASK, run=SCRIPT))
    web = read_program("serve.py")
    assert (web.kind, web.attribute, web.port, web.health) == ("wsgi", "app", 8080, "/healthz")
    assert read_program("pkg.main:api").kind == "asgi"
    script = read_program("run.py")
    assert (script.kind, script.port) == ("script", 9000)
    assert read_program("run.py", 7).port == 7
    assert started("run.py") == ("python", "run.py")
    assert started("pkg.main:api", uvicorn="0.30")[-1] == "pkg.main:api"
    assert "--no-control-socket" in started("serve.py", gunicorn="27.0.1")
    assert "--no-control-socket" not in started("serve.py", gunicorn="22.0")
    assert "/healthz" in health_test(web)[-1]
    assert "create_connection" in health_test(script)[-1]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("none.py", "no such file"),
        ("none.module:app", "no file none/module.py"),
        ("serve.py:other", "has no other"),
        ("empty.py", "nothing|no application"),
    ],
)
def test_read_program_explains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str
) -> None:
    monkeypatch.chdir(write(tmp_path, serve=FLASK, empty="x = 1\n"))
    with pytest.raises(ImageError, match=told):
        read_program(text)


def test_an_application_without_a_server_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write(tmp_path, serve=FLASK))
    with pytest.raises(ImageError, match="needs gunicorn") as caught:
        started("serve.py")
    assert "pip install gunicorn" in caught.value.hint


def test_dockerfile_is_one_that_we_would_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from minirun.image.pack_dockerfile import dockerfile_of
    from minirun.image.pack_plan import Wish, plan_packing

    monkeypatch.chdir(
        write(tmp_path, serve="import packaging\nif __name__ == '__main__':\n    f(port=81)\n")
    )
    (tmp_path / "a model").mkdir()
    (tmp_path / "a model/x.bin").write_bytes(b"x")
    packing = plan_packing(Wish("serve.py", ("a model",), venv=sys.prefix))
    parsed = dockerfile.parse(dockerfile_of(packing))
    keywords = [one.keyword for one in parsed.instructions]
    assert (
        keywords == "FROM WORKDIR RUN COPY COPY ENV USER EXPOSE HEALTHCHECK STOPSIGNAL CMD".split()
    )
    assert parsed.instructions[3].words == ("a model", "a model")
    assert parsed.instructions[-1].words == ("python", "serve.py")
