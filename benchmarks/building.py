"""Images made: nothing to do, one line of code changed, a program packed without a Dockerfile.

The base is the same everywhere: the Python that runs this, captured by ours, and saved and loaded
by the others. docker builds in two ways, so both are here; its own name stands for what `docker
build` does when nobody asks for anything.

Packages come from a folder of wheels on loopback, made of what is installed here: the lab has no
other network.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from .engines import Engine, Engines
from .experiment import Experiment, Round, Row, Target
from .lab import Lab
from .timing import Argv, BenchError, run, time_ms

BASE = f"minirun/python:{sys.version_info.major}.{sys.version_info.minor}"
MODEL_BYTES = 200 << 20
_SAMPLE = Path(__file__).parents[1] / "images/iris"
_WHEELS_PORT = 15_103
_SERVE = """
import os
with open("/app/model.bin", "rb") as file:
    assert file.seek(0, os.SEEK_END)
print("edit {edit}")
"""


def experiments(lab: Lab, engines: Engines) -> Iterator[Experiment]:
    """Yield what is measured of builds."""
    builders = _builders(engines)
    yield _unchanged(lab, builders)
    yield _edited(lab, builders)
    yield from _packed(lab, builders)


def _builders(engines: Engines) -> dict[str, Engine]:
    """Return all engines, and docker once more with BuildKit."""
    found = engines.all()
    if docker := engines.peers.get("docker"):
        command = ("env", "DOCKER_BUILDKIT=1", *docker.command)
        found["docker buildkit"] = Engine("docker buildkit", command)
    return found


def _build_argv(engine: Engine, context: Path, *words: str) -> Argv:
    # podman builds in a container of its own and does not need the network for it either.
    return engine.argv("build", "-q", "--network", "none", *words, str(context))


# ── nothing to do ─────────────────────────────────────────────────────────────────────────────


def _unchanged(lab: Lab, builders: Mapping[str, Engine]) -> Experiment:
    """Return builds of which nothing is left to do: all steps come from the cache."""
    context = lab.folder("context")
    run(("cp", "-a", str(lab.rootfs), str(context / "root")))
    (context / "Dockerfile").write_text(
        "FROM scratch\nCOPY root/ /\nENV A=1\nWORKDIR /tmp\n"
        'RUN echo built > /tmp/it\nCMD ["true"]\n'
    )
    row = Row("build-cached", "build of five small steps, all in the cache")
    contenders: dict[str, Round] = {
        name: _timed(row.id, _build_argv(engine, context, "-t", "bench-built"))
        for name, engine in builders.items()
    }
    return Experiment((row,), contenders)


def _timed(row: str, argv: Argv) -> Round:
    return lambda: {row: time_ms(argv)}


# ── one line changed ──────────────────────────────────────────────────────────────────────────


def _edited(lab: Lab, builders: Mapping[str, Engine]) -> Experiment:
    model = f"a {MODEL_BYTES >> 20} MiB model's image"
    rows = (
        Row(
            "build-code",
            f"a line of the code of {model} changed: from the edit until it has run",
            targets=(Target(0.5, "docker"),),
        ),
        Row("build-same", f"{model} built again, unchanged", targets=(Target(0.3, "docker"),)),
    )
    bases = _Bases(lab)
    contenders: dict[str, Round] = {
        name: _Edit(engine, lab.folder("edit", name), bases) for name, engine in builders.items()
    }
    return Experiment(rows, contenders, share=0.5, warmup=1)


class _Edit:
    """Edits a program beside its model, builds, and runs it: what it prints proves the edit.

    Args:
        engine: whose build.
        context: a folder of its own, made with the first round.
        bases: the images to begin with.
    """

    def __init__(self, engine: Engine, context: Path, bases: _Bases) -> None:
        self._engine, self._context, self._bases = engine, context, bases
        self._edit = 0

    def __call__(self) -> Mapping[str, float]:
        if not self._edit:
            self._prepare()
        self._edit += 1
        program = _SERVE.format(edit=self._edit)
        script = 'printf %s "$1" > "$2/serve.py" && shift 2 && "$@" >/dev/null'
        build = _build_argv(self._engine, self._context, "-t", "bench-model")
        edit = ("sh", "-c", script, "edit", program, str(self._context), *build)
        taken = time_ms(edit) + time_ms(self._run_argv())
        if (said := run(self._run_argv())) != f"edit {self._edit}\n":
            raise BenchError(f"the program is not the edited one: {said!r}")
        return {"build-code": taken, "build-same": time_ms(build)}

    def _run_argv(self) -> Argv:
        options = (*self._engine.options, "--network", "none")
        return self._engine.argv("run", "--rm", *options, "bench-model")

    def _prepare(self) -> None:
        self._bases.give(self._engine)
        with (self._context / "model.bin").open("wb") as file:
            for _ in range(MODEL_BYTES >> 20):
                file.write(os.urandom(1 << 20))
        (self._context / "Dockerfile").write_text(
            f"FROM {BASE}\nWORKDIR /app\nCOPY model.bin .\nCOPY serve.py .\n"
            'CMD ["python3", "serve.py"]\n'
        )


class _Bases:
    """Gives each engine the captured Python, once."""

    def __init__(self, lab: Lab) -> None:
        self._archive = lab.top / "base.tar"
        self._given: set[tuple[str, ...]] = set()

    def give(self, engine: Engine) -> None:
        """Make sure that an engine has the base image."""
        where = engine.command[2:] if engine.command[0] == "env" else engine.command
        if where not in self._given:
            if engine.name == "minirun":
                run(engine.argv("image", "capture"), timeout_s=300)
                run(engine.argv("save", "-o", str(self._archive), BASE), timeout_s=300)
            else:
                run(engine.argv("load", "-i", str(self._archive)), timeout_s=300)
            self._given.add(where)


# ── packed ────────────────────────────────────────────────────────────────────────────────────


def _packed(lab: Lab, builders: Mapping[str, Engine]) -> Iterator[Experiment]:
    rows = (
        Row(
            "pack",
            "a scikit-learn model and its server packed; docker: built of the Dockerfile that"
            " pack writes",
            targets=(Target(1.0, "docker"),),
        ),
        Row("pack-size", "the size of that image", "MB", (Target(1.0, "docker"),)),
    )
    scene, bases = _PackScene(lab), _Bases(lab)
    contenders: dict[str, Round] = {
        name: functools.partial(_pack_round, scene, bases, engine)
        for name, engine in builders.items()
        if name != "podman"  # 4.3 has no way to pass pip a folder of the loopback device
    }
    yield Experiment(rows, contenders, share=0.1, warmup=0)


def _pack_round(scene: _PackScene, bases: _Bases, engine: Engine) -> Mapping[str, float]:
    """Make the image where there is no trace of an earlier one."""
    bases.give(engine)
    name = "bench-packed"
    if engine.name == "minirun":
        argv = engine.argv("pack", "-q", "-t", name, *scene.words)
    else:
        argv = engine.argv("build", "-q", "--no-cache", "-t", name, *scene.build_words)
    taken = time_ms(argv)
    found = json.loads(run(engine.argv("image", "inspect", name)))[0]
    run(engine.argv("rmi", "-f", name))
    run(engine.argv("image", "prune", "-f"))
    return {"pack": taken, "pack-size": found["Size"] / 1e6}


class _PackScene:
    """The sample of a model, trained; its Dockerfile, and the wheels that this asks for."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._until_the_end = contextlib.ExitStack()  # never closed: all of it ends with the lab

    @functools.cached_property
    def folder(self) -> Path:
        """Copy the sample and train it."""
        if importlib.util.find_spec("sklearn") is None:
            raise BenchError("no scikit-learn here", hint="pip install -e .[test]")
        folder = self._lab.top / "iris"
        shutil.copytree(_SAMPLE, folder)
        subprocess.run((sys.executable, "train.py"), cwd=folder, check=True, capture_output=True)
        return folder

    @property
    def words(self) -> tuple[str, ...]:
        """What pack is told."""
        model = str(self.folder / "model/iris.joblib")
        return (str(self.folder / "serve.py"), "--model", model, "--venv", sys.prefix)

    @functools.cached_property
    def build_words(self) -> tuple[str, ...]:
        """Write the Dockerfile, serve its wheels; return what build is told."""
        ours = (str(Path(sys.executable).parent / "minirun"), "pack", "--dockerfile")
        text = run((*ours, *self.words))
        head, rest = text.split("\n", 1)
        (self.folder / "Dockerfile").write_text(
            f"{head}\nARG PIP_FIND_LINKS\nARG PIP_NO_INDEX\n{rest}"
        )
        address = _serve_wheels(self._lab.folder("wheels"), text)
        given = (f"PIP_FIND_LINKS={address}", "PIP_NO_INDEX=1")
        arguments = [word for value in given for word in ("--build-arg", value)]
        return (*arguments, "--network", "host", str(self.folder))


def _serve_wheels(folder: Path, dockerfile: str) -> str:
    """Make a wheel of every distribution that is pinned; return the page that lists them."""
    pins = [word.partition("==")[0] for word in dockerfile.split() if "==" in word]
    for name in pins:
        _make_wheel(importlib.metadata.distribution(name), folder)
    argv = (sys.executable, "-m", "http.server", "-b", "127.0.0.1", str(_WHEELS_PORT))
    subprocess.Popen(
        argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=-3
    )
    return f"http://127.0.0.1:{_WHEELS_PORT}/"


def _make_wheel(found: importlib.metadata.Distribution, folder: Path) -> None:
    """Put an installed distribution's files back into a wheel, all but what pip made of it."""
    about = (found.read_text("WHEEL") or "").splitlines()
    tag = next(line.partition(": ")[2] for line in about if line.startswith("Tag: "))
    stem = f"{found.name.replace('-', '_').replace('.', '_')}-{found.version}"
    files = [file for file in found.files or () if _is_shipped(file)]
    record = next(file for file in files if file.match("*.dist-info/RECORD"))
    lines = []
    with zipfile.ZipFile(folder / f"{stem}-{tag}.whl", "w", zipfile.ZIP_DEFLATED, True, 6) as wheel:
        for file in files:
            if file != record:
                data = Path(str(file.locate())).read_bytes()
                wheel.writestr(str(file), data)
                digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
                lines.append(f"{file},sha256={digest.decode()},{len(data)}\n")
        wheel.writestr(str(record), "".join([*lines, f"{record},,\n"]))


def _is_shipped(file: importlib.metadata.PackagePath) -> bool:
    made = ("INSTALLER", "REQUESTED", "direct_url.json")
    return ".." not in file.parts and "__pycache__" not in file.parts and file.name not in made
