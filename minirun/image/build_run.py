"""One RUN instruction: the command, its environment, and what the host lends to it.

Next: ``build_mounts.py``, ``build_host.py``, ``build_executor.py``.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

from ..errors import ImageError
from . import build_host
from .build_cache import key_of
from .build_caches import Caches
from .build_executor import Bind, Executor, RunStep, Tmpfs
from .build_lend import Lender, Place
from .build_mounts import mount_points
from .build_state import State
from .dockerfile import DockerfileError, Instruction
from .dockerfile_mounts import MountProblem, RunMount, parse_mount
from .dockerfile_stages import flags_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .build_stage import StageBuilder

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KERNEL_FOLDERS = ("/proc", "/sys", "/dev")
_RESOLVER_FILES = ("/etc/resolv.conf", "/etc/hosts")
_TAIL_BYTES = 4000
_HINTS = {
    127: "the command was not found in the image",
    126: "the command is in the image but cannot be executed",
    137: "it was killed, perhaps for using too much memory",
}
_NETWORKS = {"default": "", "host": "host", "none": "none", "bridge": "bridge"}


class BuildStepError(DockerfileError):
    """A RUN command failed.

    Args:
        message: with file and line.
        status: the command's exit status.
        output: the end of what it printed.
    """

    def __init__(self, message: str, *, hint: str, status: int, output: str) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.output = output


def run(builder: StageBuilder, instruction: Instruction) -> None:
    """Carry out a RUN."""
    state, session = builder.state, builder.session
    if not instruction.words:
        raise state.file.error(instruction, "RUN needs a command")
    mounts = _mounts(state, instruction)
    step = RunStep(
        lowers=session.lowers(builder.diff_ids()),
        upper=Path(),
        work=Path(),
        argv=command(state, instruction),
        env=environment(state),
        cwd=state.workdir,
        user=state.config.user,
        network=network(state, instruction, session.options.network),
    )
    inputs: list[object] = [step.argv, step.env, step.cwd, step.user, step.network]
    if mounts:
        inputs.append([_key_of_mount(builder, instruction, mount) for mount in mounts])

    def write(upper: Path, work: Path) -> None:
        with ExitStack() as stack:
            lender = Lender(
                session.writer.scratch,
                Caches(session.store.root),
                session.options.secrets,
                session.options.agents,
                lambda name: _place(builder, instruction, name),
                stack,
            )
            lent = lender.lend(mounts)
            env = {**lender.env, **step.env, **session.dated}
            ready = replace(step, upper=upper, work=work, env=env, mounts=lent)
            _execute(builder, instruction, ready)

    builder.layer(instruction, key_of("RUN", builder.diff_ids(), *inputs), write)


def _execute(builder: StageBuilder, instruction: Instruction, step: RunStep) -> None:
    tail = bytearray()
    session = builder.session

    def output(data: bytes) -> None:
        tail.extend(data)
        del tail[:-_TAIL_BYTES]
        session.progress.output(data)

    status = run_step(session.executor, step, session.options.build_args, output)
    if status:
        line = " ".join(instruction.original.partition("\n")[0].split())
        where = f"{builder.state.file.name}:{instruction.start_line}"
        raise BuildStepError(
            f"{where}: {line}: exit status {status}",
            hint=_HINTS.get(status, "the steps before it are cached: correct it and build again"),
            status=status,
            output=tail.decode("utf-8", "replace"),
        )


# ---- mounts -------------------------------------------------------------------------------------


def _mounts(state: State, instruction: Instruction) -> list[RunMount]:
    """Return what ``--mount`` asks for, in order."""
    found = []
    for text in flags_of(instruction).get("mount", []):
        try:
            found.append(
                parse_mount(text, state.workdir, lambda word: state.expand(instruction, word))
            )
        except MountProblem as problem:
            raise state.file.error(
                instruction, f"--mount={text}: {problem}", hint=problem.hint
            ) from problem
    return found


def _key_of_mount(builder: StageBuilder, instruction: Instruction, mount: RunMount) -> object:
    """Return what of a mount makes a step another one: never what is secret, or only a cache."""
    if mount.kind != "bind":
        return [mount.kind, mount.target, mount.id, mount.env]
    place = _place(builder, instruction, mount.origin)
    if place.origin is not None:
        content: object = place.origin.fingerprint(place.origin.exact(mount.source))
    else:
        content = [builder.layers_of(instruction, mount.origin), mount.source]
    return [mount.kind, mount.target, mount.writable, content]


def _place(builder: StageBuilder, instruction: Instruction, name: str) -> Place:
    context = builder.session.context_of(name)
    if context is not None:
        return Place(context)
    return Place(lowers=builder.session.lowers(builder.layers_of(instruction, name)))


# ---- the command --------------------------------------------------------------------------------


def environment(state: State) -> dict[str, str]:
    """Return what the command sees of the image and the ARGs, without what the host lends.

    This is part of the cache key: a changed ARG runs the step again.
    """
    base = {"PATH": DEFAULT_PATH}
    return {**base, **state.args, **state.env}


def command(state: State, instruction: Instruction) -> tuple[str, ...]:
    """Return the argv of a RUN: the exec form as it is, the shell form below its shell.

    A line that is only a here-document is a script; otherwise the here-documents stay with the
    line, and the shell reads them as it always does.
    """
    if instruction.is_json:
        return instruction.words
    line = instruction.words[0] if instruction.words else ""
    docs = instruction.heredocs
    if len(docs) == 1 and not docs[0].fd and line.startswith("<<") and len(line.split()) == 1:
        return (*state.shell, docs[0].body())
    for doc in docs:
        line += f"\n{doc.body()}{doc.name}"
    return (*state.shell, line)


def network(state: State, instruction: Instruction, default: str) -> str:
    """Return the network of a step: ``--network`` on its line, else the build's."""
    name = flags_of(instruction).get("network", ["default"])[0]
    if name not in _NETWORKS:
        hint = f"one of {', '.join(_NETWORKS)}"
        raise state.file.error(instruction, f"unknown network {name!r}", hint=hint)
    return _NETWORKS[name] or default


# ---- what the host lends ------------------------------------------------------------------------


def run_step(
    executor: Executor,
    step: RunStep,
    build_args: Mapping[str, str],
    output: Callable[[bytes], None],
) -> int:
    """Run a command with the host's settings lent to it; return its exit status.

    Args:
        executor: runs it.
        step: what to run; its variables win over those that are lent.
        build_args: may hold proxies, which are lent too.
        output: receives what the command prints.
    """
    with ExitStack() as stack:
        private = stack.enter_context(tempfile.TemporaryDirectory(prefix="minirun-lent-"))
        # The step's user must be able to enter it; nobody on the host gets through the one above.
        folder = Path(private) / "lent"
        folder.mkdir()
        folder.chmod(0o755)
        script = _shebang_script(step, folder)
        lent = build_host.borrow(folder, build_args=build_args)
        optional = _resolver(step)
        present = stack.enter_context(_points(step, (*optional, *lent.binds, *step.mounts)))
        for mount in step.mounts:
            if mount.target not in present:
                raise ImageError(f"nothing can be mounted on {mount.target}")
        lending = replace(
            step,
            argv=script or step.argv,
            env={**lent.env, **step.env},
            mounts=(*(b for b in optional if b.target in present), *lent.binds, *step.mounts),
        )
        return executor.run(lending, output)


def _points(
    step: RunStep, mounts: Sequence[Bind | Tmpfs]
) -> AbstractContextManager[frozenset[str]]:
    """Return what makes the mount points that are missing in the step's root."""
    files = [m.target for m in mounts if isinstance(m, Bind) and not m.source.is_dir()]
    lent = (m.target for m in mounts if m.target not in files and not _is_lent(m))
    return mount_points(
        step,
        (*_KERNEL_FOLDERS, build_host.FOLDER, *lent),
        [path for path in files if not path.startswith(f"{build_host.FOLDER}/")],
    )


def _resolver(step: RunStep) -> tuple[Bind, ...]:
    """Return the host's name lookup for a step that is on the host's network."""
    if step.network != "host":
        return ()
    files = [path for path in _RESOLVER_FILES if os.path.isfile(path)]
    return tuple(Bind(Path(os.path.realpath(path)), path) for path in files)


def _is_lent(mount: Bind | Tmpfs) -> bool:
    return f"{mount.target}/".startswith(f"{build_host.FOLDER}/")


def _shebang_script(step: RunStep, folder: Path) -> tuple[str, ...]:
    """Write a here-document that names its own interpreter to a file; return how to start it."""
    text = step.argv[-1] if step.argv else ""
    if not text.startswith("#!") or "\n" not in text:
        return ()
    script = folder / "script"
    script.write_text(text)
    script.chmod(0o755)
    return (f"{build_host.FOLDER}/script",)
