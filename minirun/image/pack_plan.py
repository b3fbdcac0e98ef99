"""What goes into a packed image: found out from the program, before anything is made.

Next: ``pack_app.py``, which makes it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import ImageError
from ..record import Record
from .capture_python import Python, probe
from .capture_venv import Environment, open_venv
from .model import ContainerConfig, Healthcheck, Presence
from .pack_distributions import Packages
from .pack_imports import Import, Traced, files_below, trace
from .pack_model import modules_in
from .pack_program import (
    Program,
    command,
    extra_files,
    health_test,
    read_program,
    server_of,
)

HOME = "/app"
#: Nobody's own number, as in the sample images: a number can be checked without a passwd file.
USER = "10001:10001"
_SECOND_NS = 10**9


class Wish(Record):
    """What is to be packed.

    Args:
        program: ``serve.py``, ``serve.py:app`` or ``module:app``.
        models: files or folders that it reads.
        include: further files or folders of its own.
        also: requirements that its imports do not show, as in ``uvicorn[standard]``.
        venv: the virtual environment that it works in.
        port: instead of the one that is read from the program.
    """

    program: str
    models: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    venv: str = ""
    port: int = 0


class Packing(Record):
    """What was found out, before anything is made.

    Args:
        program: how it is started, and where it listens.
        python: the environment's.
        environment: the virtual environment.
        distributions: (name, version) that go along, sorted.
        models: {path on the host: path below ``/app``}.
        files: of the program, relative to its folder.
        command: that starts it.
    """

    program: Program
    python: Python
    environment: Environment
    distributions: tuple[tuple[str, str], ...]
    models: dict[str, str]
    files: tuple[str, ...]
    command: tuple[str, ...]


def plan_packing(wish: Wish) -> Packing:
    """Find out what goes along; reads files, writes none.

    Raises:
        ImageError: the program, a model or a distribution is missing.
    """
    program = read_program(wish.program, wish.port)
    environment = open_venv(Path(wish.venv))
    python = probe(environment.executable)
    packages = Packages(environment.packages, python.version)
    models = {path: _place(program, path) for path in wish.models}
    traced = trace(program.folder, _entries(program))
    server = server_of(program)
    started = command(program, lambda name: packages.version(name) if name in packages else "")
    imports = [*traced.imports, *_of_models(models, packages)]
    names = packages.needed(imports, (*wish.also, *([server] if server else [])))
    return Packing(
        program,
        python,
        environment,
        tuple((name, packages.version(name)) for name in names),
        models,
        _own_files(program, traced, wish.include, models),
        started,
    )


def config_of(packing: Packing, env: tuple[str, ...] = ()) -> ContainerConfig:
    """Return how the image is run: not as root, its port and its health known."""
    port = packing.program.port
    check = Healthcheck(
        health_test(packing.program),
        interval=10 * _SECOND_NS,
        timeout=3 * _SECOND_NS,
        start_period=15 * _SECOND_NS,
        retries=3,
    )
    own = ("PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1")
    return ContainerConfig(
        user=USER,
        working_dir=HOME,
        env=(*env, *((f"PORT={port}",) if port else ()), *own),
        cmd=packing.command,
        exposed_ports={f"{port}/tcp": Presence()} if port else {},
        healthcheck=check if port else None,
        stop_signal="SIGTERM",
    )


def _entries(program: Program) -> list[str]:
    """Return the files that tracing begins with."""
    extra = [name for name in extra_files(program) if name.endswith(".py")]
    return [program.file, *extra]


def _place(program: Program, path: str) -> str:
    """Return where a model goes: where the program finds it, if it lies in its folder."""
    whole = Path(path).absolute()
    if not whole.exists():
        raise ImageError(f"model {path}: no such file or directory")
    if whole.is_relative_to(program.folder):
        return str(whole.relative_to(program.folder))
    return whole.name


def _of_models(models: dict[str, str], packages: Packages) -> Iterator[Import]:
    """Yield what the models' pickles import, as far as it is installed here."""
    for path in models:
        below = [Path(path)] if os.path.isfile(path) else sorted(Path(path).rglob("*"))
        for file in below:
            for name in sorted(modules_in(file)) if file.is_file() else ():
                if packages.provides(name.partition(".")[0]):
                    yield Import(name, str(file), may_fail=True)


def _own_files(
    program: Program, traced: Traced, include: Iterable[str], models: dict[str, str]
) -> tuple[str, ...]:
    """Return the program's files; what is a model is not code as well."""
    found = set(traced.files)
    for name in extra_files(program):
        found.update(files_below(program.folder, name))
    for given in include:
        whole = Path(given).absolute()
        if not whole.exists() or not whole.is_relative_to(program.folder):
            raise ImageError(
                f"--include {given}: nothing of that name in {program.folder}",
                hint="what is elsewhere goes along with --model",
            )
        found.update(files_below(program.folder, str(whole.relative_to(program.folder))))
    taken = tuple(models.values())
    return tuple(sorted(f for f in found if not f.startswith(tuple(f"{t}/" for t in taken))
                        and f not in taken))  # fmt: skip
