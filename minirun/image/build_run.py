"""One RUN instruction: the command, its environment, and what the host lends to it.

Next: ``build_mounts.py``, ``build_host.py``, ``build_executor.py``.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from . import build_host
from .build_executor import Bind, Executor, RunStep
from .build_mounts import mount_points
from .build_state import State
from .dockerfile import Instruction
from .dockerfile_stages import flags_of

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KERNEL_FOLDERS = ("/proc", "/sys", "/dev")
_RESOLVER_FILES = ("/etc/resolv.conf", "/etc/hosts")
_NETWORKS = {"default": "", "host": "host", "none": "none", "bridge": "bridge"}


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
        binds = (*_resolver(step), *lent.binds)
        folders = (*_KERNEL_FOLDERS, build_host.FOLDER)
        points = mount_points(
            step, folders, [bind.target for bind in binds if bind.source.is_file()]
        )
        present = stack.enter_context(points)
        lending = RunStep(
            lowers=step.lowers,
            upper=step.upper,
            work=step.work,
            argv=script or step.argv,
            env={**lent.env, **step.env},
            cwd=step.cwd,
            user=step.user,
            binds=tuple(bind for bind in binds if bind.target in present or _is_lent(bind)),
            network=step.network,
        )
        return executor.run(lending, output)


def _resolver(step: RunStep) -> tuple[Bind, ...]:
    """Return the host's name lookup for a step that is on the host's network."""
    if step.network != "host":
        return ()
    files = [path for path in _RESOLVER_FILES if os.path.isfile(path)]
    return tuple(Bind(Path(os.path.realpath(path)), path) for path in files)


def _is_lent(bind: Bind) -> bool:
    return f"{bind.target}/".startswith(f"{build_host.FOLDER}/")


def _shebang_script(step: RunStep, folder: Path) -> tuple[str, ...]:
    """Write a here-document that names its own interpreter to a file; return how to start it."""
    text = step.argv[-1] if step.argv else ""
    if not text.startswith("#!") or "\n" not in text:
        return ()
    script = folder / "script"
    script.write_text(text)
    script.chmod(0o755)
    return (f"{build_host.FOLDER}/script",)
