"""A Dockerfile and a folder become an image.

    Dockerfile ─▶ parse ─▶ plan: stages ─▶ for each needed one: State, layer by layer ─▶ image

The same inputs give the same layers from the cache, and with SOURCE_DATE_EPOCH the same image
anywhere. A step that fails leaves the layers before it cached and nothing else behind. RUN steps
are on the host's network unless told otherwise: they install packages through the host's resolver,
proxies and mirrors, in namespaces of their own for everything else.

Next: ``build_stage.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ..errors import ImageError
from ..record import replace
from . import dockerfile
from .build_cache import Cache
from .build_executor import Executor
from .build_ignore import Ignore
from .build_options import Options
from .build_progress import Progress, Silent
from .build_rootfs import read_text
from .build_session import Session
from .build_sources import Origin
from .build_stage import StageBuilder
from .build_state import PROXY_ARGS, State
from .dockerfile import Dockerfile, DockerfileError, Instruction
from .dockerfile_stages import Plan, Stage, check_flags, plan
from .layers import source_date_epoch
from .model import History, ImageConfig, RootFs
from .store import Image, Store

__all__ = ["STDIN", "Options", "build", "host_architecture"]

#: How a Dockerfile from standard input is called: in a folder of its own, and in messages.
STDIN = "-"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_ALIASES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm"}


def build(
    context_dir: str | Path,
    *,
    store: Store,
    executor: Executor,
    options: Options | None = None,
    progress: Progress | None = None,
) -> Image:
    """Build an image.

    Args:
        context_dir: the folder that COPY takes files from.
        store: has base images, and receives the result.
        executor: runs the commands of RUN.
        options: see ``Options``.
        progress: is told what happens.

    Raises:
        DockerfileError: the Dockerfile cannot be read, or one of its steps failed.
        ImageError: no context, no Dockerfile, no such base image, a foreign platform.
    """
    options, progress = options or Options(), progress or Silent()
    folder = Path(context_dir)
    path = options.dockerfile or folder / "Dockerfile"
    file = dockerfile.parse(_read(folder, path), _shown(path))
    architecture = host_architecture(options.platform)
    platform_args = _platform_args(architecture)
    planned = plan(file, options.build_args, platform_args)
    with store.write() as writer, _context(folder, path) as context:
        session = Session(
            store=store,
            writer=writer,
            cache=Cache(store.root, writer, enabled=not options.no_cache),
            executor=executor,
            progress=progress,
            plan=planned,
            context=context,
            options=options,
            global_args={**platform_args, **planned.global_args},
            now=_now(),
        )
        return _build(session, architecture)


def _build(session: Session, architecture: str) -> Image:
    """Build the stages that the target needs, one after the other."""
    target = session.plan.target(session.options.target)
    for stage in session.plan.needed(target):
        session.done[stage.index] = _build_stage(session, stage, architecture)
    _warn_of_unused(session)
    return _write(session, session.done[target.index], architecture)


def host_architecture(platform: str = "") -> str:
    """Return this host's architecture, as images name it.

    Args:
        platform: what was asked for, as in ``linux/arm64``; "" is whatever the host is.

    Raises:
        ImageError: it is another one: nothing here emulates processors.
    """
    machine = os.uname().machine
    mine = _ARCHITECTURES.get(machine, machine)
    system, _, wanted = platform.lower().rpartition("/") if platform else ("", "", mine)
    wanted = wanted.partition("/")[0]
    if "/" in system:  # linux/arm64/v8: the variant comes last
        system, _, wanted = system.partition("/")
    if system not in ("", "linux") or _ALIASES.get(wanted, wanted) != mine:
        hint = f"this host builds and runs linux/{mine}"
        raise ImageError(f"platform {platform} is foreign to this host", hint=hint)
    return mine


# ---- the context --------------------------------------------------------------------------------


def _read(folder: Path, path: Path) -> str:
    """Return the Dockerfile's text."""
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise ImageError(
            f"build context {folder} {problem}", hint="name the folder of a Dockerfile"
        )
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        hint = "write one, or name another with -f"
        raise ImageError(f"no Dockerfile at {path}", hint=hint) from None
    except IsADirectoryError:
        raise ImageError(f"{path} is a folder, not a Dockerfile") from None
    except UnicodeDecodeError as error:
        raise ImageError(f"{path} is not UTF-8 text", hint="save it as UTF-8") from error


def _shown(path: Path) -> str:
    """Return how messages call the Dockerfile: relative where that is shorter."""
    if path.name == STDIN:
        return STDIN
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)


@contextmanager
def _context(folder: Path, path: Path) -> Iterator[Origin]:
    """Yield the context, without what ``.dockerignore`` hides."""
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        own = path.with_name(f"{path.name}.dockerignore")
        text = own.read_text() if own.is_file() else read_text(root, ".dockerignore")
        yield Origin(root, "the build context", Ignore(text))
    finally:
        os.close(root)


# ---- one stage ----------------------------------------------------------------------------------


def _build_stage(session: Session, stage: Stage, architecture: str) -> State:
    """Return a stage, built."""
    file = session.plan.file
    state = State(file, session.options.build_args, session.global_args, created=_epoch() or "")
    try:
        host_architecture(stage.platform)
        triggers = _start(session, stage, state, architecture)
    except DockerfileError:
        raise
    except ImageError as error:
        raise file.error(stage.start, error.message, hint=error.hint) from error
    builder = StageBuilder(session, stage, state, triggers)
    session.progress.start(builder.title(stage.start.original.strip()))
    session.progress.done(cached=False)
    return builder.build()


def _start(
    session: Session, stage: Stage, state: State, architecture: str
) -> tuple[Instruction, ...]:
    """Give a state what its FROM means; return the base's ONBUILD instructions."""
    if stage.base == "scratch":
        return ()
    earlier = Plan(session.plan.file, session.plan.stages[: stage.index], {})
    before = earlier.find(stage.base) if not stage.base.isdecimal() else None
    if before is not None:
        base = session.done[before.index]
        state.layers, state.history = list(base.layers), list(base.history)
        state.config, state.created, state.author = base.config, base.created, base.author
    else:
        image = session.find_image(stage.base)
        if image.config.architecture != architecture:
            problem = (
                f"{stage.base} is for {image.config.architecture}, this host is {architecture}"
            )
            raise ImageError(problem, hint=f"use an image for linux/{architecture}")
        state.layers, state.history = list(image.layers), list(image.config.history)
        state.config, state.created = image.config.config, image.config.created
        state.author = image.config.author
    lines = state.config.on_build
    state.config = replace(state.config, on_build=())
    return _triggers(session.plan.file, stage, lines)


def _triggers(file: Dockerfile, stage: Stage, lines: Sequence[str]) -> tuple[Instruction, ...]:
    """Return the ONBUILD instructions of a base, as if they followed FROM."""
    found: list[Instruction] = []
    for line in lines:
        parsed = dockerfile.parse(
            line, f"{file.name}:{stage.start.start_line}: ONBUILD of {stage.base}"
        )
        for instruction in parsed.instructions:
            check_flags(parsed, instruction)
            found.append(instruction)
    return tuple(found)


def _warn_of_unused(session: Session) -> None:
    """A ``--build-arg`` that no ARG takes is most likely misspelt."""
    known = {name for state in session.done.values() for name in state.known_args}
    known |= {*session.global_args, *PROXY_ARGS}
    unused = sorted(set(session.options.build_args) - known)
    if unused:
        session.progress.warn(f"no ARG takes the build argument {', '.join(unused)}")


# ---- the result ---------------------------------------------------------------------------------


def _write(session: Session, state: State, architecture: str) -> Image:
    """Make the image visible, with its names."""
    options = session.options
    config = replace(state.config, labels={**state.config.labels, **options.labels})
    history = tuple(
        replace(entry, created=entry.created or state.created) for entry in state.history
    )
    document = ImageConfig(
        architecture=architecture,
        os="linux",
        rootfs=RootFs("layers", tuple(layer.diff_id for layer in state.layers)),
        config=config,
        created=state.created or session.now,
        author=state.author,
        history=_with_layers(history, state),
    )
    return session.writer.write_image(document, state.layers, options.tags)


def _with_layers(history: tuple[History, ...], state: State) -> tuple[History, ...]:
    """Return the history, which must name each layer: a base without one gets a line for each."""
    named = sum(not entry.empty_layer for entry in history)
    missing = len(state.layers) - named
    return (*(History(comment="base") for _ in range(missing)), *history)


def _platform_args(architecture: str) -> dict[str, str]:
    """Return the platform ARGs; build and target are the same host."""
    values = {
        "PLATFORM": f"linux/{architecture}",
        "OS": "linux",
        "ARCH": architecture,
        "VARIANT": "",
    }
    return {f"{side}{name}": v for side in ("BUILD", "TARGET") for name, v in values.items()}


def _epoch() -> str | None:
    """Return SOURCE_DATE_EPOCH as RFC 3339, or None."""
    epoch = source_date_epoch()
    if epoch is None:
        return None
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _now() -> str:
    """Return the time of this build."""
    return _epoch() or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
