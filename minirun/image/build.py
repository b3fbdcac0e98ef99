"""A Dockerfile and a folder become an image.

    Dockerfile ─▶ parse ─▶ plan: stages ─▶ each needed one: a process, a State, layers ─▶ image

The same inputs give the same layers from the cache, and with SOURCE_DATE_EPOCH the same image
anywhere. A step that fails leaves the layers before it cached and nothing else behind. RUN steps
are on the host's network unless told otherwise: they install packages through the host's resolver,
proxies and mirrors, in namespaces of their own for everything else.

Next: ``build_parallel.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ..errors import ImageError
from . import build_context, dockerfile
from .build_base import build_stage, find_images
from .build_cache import Cache
from .build_context import IMAGE_SCHEME, STDIN, named, opened
from .build_digests import Digests
from .build_executor import Executor
from .build_export import Output, export
from .build_options import Options
from .build_parallel import build_stages
from .build_platform import host_architecture, platform_args
from .build_progress import Board, Silent
from .build_result import write_image
from .build_session import Session
from .build_squash import squash
from .build_state import PROXY_ARGS, State
from .dockerfile import DockerfileError
from .dockerfile_checks import remarks
from .dockerfile_stages import Plan, plan
from .layers import source_date_epoch
from .store import Image, Store

__all__ = ["STDIN", "Options", "build", "build_to", "host_architecture"]

_EPOCH = "SOURCE_DATE_EPOCH"
#: The build argument that asks for a cache in the image itself, as in buildkit.
INLINE_ARG = "BUILDKIT_INLINE_CACHE"


def build(
    context_dir: str | Path,
    *,
    store: Store,
    executor: Executor,
    options: Options | None = None,
    progress: Board | None = None,
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
    tools = _Tools(store, executor, options or Options(), progress or Silent())
    with _built(Path(context_dir), tools) as (session, state):
        return write_image(session, state, tuple(tools.options.tags))


def build_to(
    context_dir: str | Path,
    outputs: Sequence[Output],
    *,
    store: Store,
    executor: Executor,
    options: Options | None = None,
    progress: Board | None = None,
) -> Image | None:
    """Build what ``--output`` names; see ``build``.

    Returns:
        The image, where one of the outputs is an image of the store.
    """
    tools = _Tools(store, executor, options or Options(), progress or Silent())
    image = None
    with _built(Path(context_dir), tools) as (session, state):
        for output in outputs:
            session.progress.start(f"exporting to {output.dest or output.kind}")
            if output.is_stored:
                names = output.options.get("name", "").split(",") if output.options else []
                image = write_image(session, state, (*tools.options.tags, *filter(None, names)))
            else:
                export(session, state, output)
            session.progress.done(cached=False)
    return image


@contextmanager
def _built(folder: Path, tools: _Tools) -> Iterator[tuple[Session, State]]:
    """Yield the stage that was asked for, built; its layers stay while the block runs."""
    options = tools.options
    path = options.dockerfile or folder / "Dockerfile"
    file = dockerfile.parse(build_context.read_dockerfile(folder, path), build_context.shown(path))
    host_architecture(options.platform)
    planned = plan(file, options.build_args, platform_args())
    with _session(folder, path, planned, tools) as session:
        _tell_remarks(session)
        target = planned.target(options.target)
        stages = planned.needed(target)
        find_images(session, stages, session.progress)
        build_stages(session, target, build_stage)
        _warn_of_unused(session)
        if options.squash:
            squash(session, session.done[target.index])
        yield session, session.done[target.index]


@dataclass(frozen=True, slots=True)
class _Tools:
    """What the caller of ``build`` provides."""

    store: Store
    executor: Executor
    options: Options
    board: Board


@contextmanager
def _session(folder: Path, path: Path, planned: Plan, tools: _Tools) -> Iterator[Session]:
    """Yield what the stages share; its folders are closed and its leases end with the block."""
    store, options, board = tools.store, tools.options, tools.board
    epoch = _epoch(options.build_args)
    digests = Digests(store.root)
    with ExitStack() as stack:
        writer = stack.enter_context(store.write())
        session = Session(
            store=store,
            writer=writer,
            cache=Cache(store.root, writer, enabled=not options.no_cache),
            executor=tools.executor,
            board=board,
            progress=board.lane(),
            plan=planned,
            context=stack.enter_context(opened(folder, path, "the build context", digests)),
            options=options,
            global_args={**platform_args(), **planned.global_args},
            now=_now(epoch),
            epoch=epoch,
            contexts=stack.enter_context(named(options.contexts, digests)),
        )
        for name, where in options.contexts.items():
            if where.startswith(IMAGE_SCHEME):
                session.images[name] = session.find_image(where.removeprefix(IMAGE_SCHEME))
        for name in options.cache_from:
            _take_cache(session, name)
        yield session


def _take_cache(session: Session, name: str) -> None:
    """Know the steps of an image; one that cannot be had makes a build slower, not wrong."""
    try:
        count = session.cache.take(session.find_image(name))
    except ImageError as error:
        session.progress.warn(f"--cache-from {name}: {error.message}")
        return
    if not count:
        hint = "build it with --build-arg BUILDKIT_INLINE_CACHE=1"
        session.progress.warn(f"--cache-from {name}: it brings no cache along; {hint}")


def _tell_remarks(session: Session) -> None:
    """Warn of what is odd in the Dockerfile; where it says so itself, that is an error."""
    file = session.plan.file
    found, is_error = remarks(file)
    for one in found:
        session.progress.warn(f"{one.rule}: {one.text} (line {one.line})")
    if found and is_error:
        hint = f"# check=skip={found[0].rule} leaves this check out"
        raise DockerfileError(f"{file.name}:{found[0].line}: {found[0].text}", hint=hint)


def _warn_of_unused(session: Session) -> None:
    """A ``--build-arg`` that no ARG takes is most likely misspelt."""
    known = {name for state in session.done.values() for name in state.known_args}
    known |= {*session.global_args, *PROXY_ARGS, _EPOCH, INLINE_ARG}
    unused = sorted(set(session.options.build_args) - known)
    if unused:
        session.progress.warn(f"no ARG takes the build argument {', '.join(unused)}")


def _epoch(build_args: Mapping[str, str]) -> int | None:
    """Return the date that a reproducible build pretends to be on, as seconds since 1970."""
    given = build_args.get(_EPOCH)
    if given is None:
        return source_date_epoch()
    if not given.isdecimal():
        raise ImageError(f"{_EPOCH}={given!r} is not a number of seconds")
    return int(given)


def _now(epoch: int | None) -> str:
    """Return the time of this build, as RFC 3339."""
    if epoch is None:
        return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
