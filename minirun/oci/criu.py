"""criu: the program that writes processes to disk, and makes them again from there.

It is another project's, and it is looked for when somebody asks for a checkpoint. A child of ours
becomes it, after entering whatever the restored processes shall be born in. What it does it tells
in a log; where it fails, the log's first error is the one to show, unless the kernel is at fault:
then ``criu check`` says so.

See: criu(8). Next: ``outside.py``.
"""

from __future__ import annotations

import os

from ..errors import HostError, MinirunError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def find(name: str) -> str:
    """Return the path of criu.

    Args:
        name: a path, or what to look for in PATH.

    Raises:
        HostError: there is no such program.
    """
    folders = os.environ.get("PATH", _PATH).split(":")
    places = [name] if "/" in name else [f"{folder}/{name}" for folder in folders]
    for place in places:
        if os.path.isfile(place) and os.access(place, os.X_OK):
            return place
    raise HostError(
        f"checkpoint and restore need criu, and there is no {name} here",
        hint="apt-get install criu, or name the program with --criu",
    )


def run(
    program: str,
    words: Sequence[str],
    log: str,
    prepare: Callable[[], tuple[str, ...]] | None = None,
    attend: Callable[[int], None] | None = None,
) -> None:
    """Run criu and wait for its end.

    Args:
        program: its path.
        words: the verb and its options.
        log: the file that it writes its log to.
        prepare: called in the child; enters what criu shall be in, returns more options.
        attend: called with the pid of criu; returns when that has ended.

    Raises:
        MinirunError: it failed, or could not be prepared.
    """
    _make_way(os.path.dirname(log), words[0])
    failed, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become(program, (*words, "-v4", "--log-file", log), told, prepare)
    os.close(told)
    with open(failed, encoding="utf-8", errors="replace") as pipe:
        problem = pipe.read()
    try:
        if attend is not None:
            attend(pid)
    finally:
        _, status = os.waitpid(pid, 0)
    if problem:
        raise MinirunError(problem)
    if status:
        raise _explained(program, words[0], log)


def _make_way(folder: str, verb: str) -> None:
    """Remove what stands where criu will write.

    Its log and its numbers lie beside the images as a rule, and images come from elsewhere: criu
    would follow a link of that name to a file of this host (CVE-2026-53489, in containerd).
    """
    for name in (f"{verb}.log", f"stats-{verb.removeprefix('pre-')}"):
        try:
            os.unlink(f"{folder}/{name}")
        except FileNotFoundError:
            continue


def _become(
    program: str, words: tuple[str, ...], told: int, prepare: Callable[[], tuple[str, ...]] | None
) -> NoReturn:
    """Turn this child into criu; the pipe closes by itself at execve."""
    try:
        more = prepare() if prepare else ()
        environment = {"PATH": os.environ.get("PATH", _PATH)}  # it calls ip and iptables
        os.execve(program, (program, *words, *more), environment)
    except (MinirunError, OSError) as error:
        os.write(told, f"{program} could not be started: {error}".encode(errors="replace"))
    finally:
        os._exit(1)


def _explained(program: str, verb: str, log: str) -> MinirunError:
    """Return why criu failed: for want of something in the kernel, or as its log says."""
    if problem := _missing(program):
        return HostError(
            f"criu {verb} failed, because criu does not work on this kernel: {problem}",
            hint="criu check --all tells what it needs; a newer criu may know this kernel",
        )
    return MinirunError(
        f"criu {verb} failed: {_first_error(log)}", hint=f"the whole story is in {log}"
    )


def _missing(program: str) -> str:
    """Return the complaint of ``criu check``, or ""."""
    output = os.memfd_create("check")
    both = [(os.POSIX_SPAWN_DUP2, output, fd) for fd in (1, 2)]
    pid = os.posix_spawn(program, (program, "check"), os.environ, file_actions=both)
    _, status = os.waitpid(pid, 0)
    said = os.pread(output, 65536, 0).decode(errors="replace").splitlines()
    os.close(output)
    errors = [line for line in said if "Error" in line] or ["criu check failed"]
    return _sentence(errors[0]) if status else ""


def _first_error(log: str) -> str:
    try:
        with open(log, encoding="utf-8", errors="replace") as file:
            errors = [line for line in file if "Error" in line]
    except FileNotFoundError:
        return "it wrote no log"
    return _sentence(errors[0]) if errors else "its log names no error"


def _sentence(line: str) -> str:
    """Return what criu says, without the time and its source's file.

    >>> _sentence("(00.01) Error (criu/mount.c:1): mnt: no proper root")
    'mnt: no proper root'
    """
    return line.rpartition("Error")[2].partition("): ")[2].strip() or line.strip()
