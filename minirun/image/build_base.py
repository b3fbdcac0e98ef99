"""What FROM means: the base of a stage, and the ONBUILD instructions that come with it.

The images that stages start from are looked up before the first stage is begun: one after the
other, in the process that owns the terminal, as docker does it too.

Next: ``build_stage.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ImageError
from ..record import replace
from . import dockerfile
from .build_context import IMAGE_SCHEME
from .build_platform import host_architecture
from .build_progress import Progress
from .build_run import DEFAULT_PATH
from .build_session import Session
from .build_stage import StageBuilder
from .build_state import State
from .capture import is_captured_name
from .dockerfile import DockerfileError, Instruction
from .dockerfile_stages import Stage, check_flags

SCRATCH = "scratch"


def find_images(session: Session, stages: Sequence[Stage], progress: Progress) -> None:
    """Have the images that stages start from, pulled where they are missing.

    Raises:
        DockerfileError: there is none, or it is for another kind of machine; names the line.
    """
    for stage in stages:
        try:
            host_architecture(stage.platform)
            _find_image(session, stage, progress)
        except ImageError as error:
            raise session.plan.file.error(stage.start, error.message, hint=error.hint) from error


def _find_image(session: Session, stage: Stage, progress: Progress) -> None:
    inside = session.plan.base_of(stage) is not None
    if stage.base == SCRATCH or inside or stage.base in session.images:
        return
    if stage.base in session.contexts:
        hint = f"{IMAGE_SCHEME}NAME is a base, a folder is for COPY --from={stage.base}"
        raise ImageError(f"build context {stage.base} is a folder, not an image", hint=hint)
    is_here = _announce(session, stage.base, progress)
    try:
        image = session.find_image(stage.base)
    except ImageError as error:
        progress.failed(error.message)
        raise
    progress.done(cached=is_here)
    here = host_architecture()
    if image.config.architecture != here:
        problem = f"{stage.base} is for {image.config.architecture}, this host is {here}"
        raise ImageError(problem, hint=f"use an image for linux/{here}")


def _announce(session: Session, base: str, progress: Progress) -> bool:
    """Say what is looked for, and where; return True for a capture that is there already."""
    name = session.store.name(base)
    if not is_captured_name(name):
        progress.start(f"[internal] load metadata for {name}")
        return False
    progress.start(f"capture {base} from the Python of this host")
    try:
        session.store.resolve(name)
    except ImageError:
        return False
    return True


def build_stage(session: Session, stage: Stage) -> State:
    """Return a stage, built."""
    state = session.new_state()
    try:
        triggers = _start(session, stage, state)
    except DockerfileError:
        raise
    except ImageError as error:
        raise session.plan.file.error(stage.start, error.message, hint=error.hint) from error
    builder = StageBuilder(session, stage, state, triggers)
    session.progress.start(builder.title(_from_line(stage)))
    session.progress.done(cached=False)
    return builder.build()


def _from_line(stage: Stage) -> str:
    """Return a stage's FROM as it was written, or as what its variables made of it."""
    if "$" not in stage.start.original:
        return stage.start.original.strip()
    return f"FROM {stage.base}" + (f" AS {stage.name}" if stage.name else "")


def _start(session: Session, stage: Stage, state: State) -> tuple[Instruction, ...]:
    """Give a state what its FROM means; return the base's ONBUILD instructions."""
    if stage.base == SCRATCH:
        _have_path(state)
        return ()
    before = session.plan.base_of(stage)
    if before is not None:
        base = session.done[before.index]
        state.layers, state.history = list(base.layers), list(base.history)
        state.config, state.created, state.author = base.config, base.created, base.author
        state.base_layers = base.base_layers
    else:
        image = session.find_image(stage.base)
        state.layers, state.history = list(image.layers), list(image.config.history)
        state.config, state.created = image.config.config, image.config.created
        state.author, state.base_layers = image.config.author, len(image.layers)
    lines = state.config.on_build
    state.config = replace(state.config, on_build=())
    _have_path(state)
    return _triggers(session, stage, lines)


def _have_path(state: State) -> None:
    """Every image has a PATH, as docker's have: programs look it up themselves."""
    if "PATH" not in state.env:
        state.config = replace(state.config, env=(*state.config.env, f"PATH={DEFAULT_PATH}"))


def _triggers(session: Session, stage: Stage, lines: Sequence[str]) -> tuple[Instruction, ...]:
    """Return the ONBUILD instructions of a base, as if they followed FROM."""
    found: list[Instruction] = []
    name = f"{session.plan.file.name}:{stage.start.start_line}: ONBUILD of {stage.base}"
    for line in lines:
        parsed = dockerfile.parse(line, name)
        for instruction in parsed.instructions:
            check_flags(parsed, instruction)
            found.append(instruction)
    return tuple(found)
