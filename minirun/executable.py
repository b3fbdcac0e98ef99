"""Find the program to execute, and explain why it cannot be.

Runs inside the container's root, as the container's user. The texts are those that dockerd, podman
and containerd search for to choose between exit code 126 and 127.

See: execve(2), environ(7); exec.LookPath, whose words these are.
Next: ``steps/handoff.py``, which executes what was found.
"""

from __future__ import annotations

import errno
import os
import stat

from .errors import EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, MinirunError


def find_executable(name: str, path: str) -> str:
    """Return the path to execute for ``name``.

    Args:
        name: ``args[0]``; looked up only when it has no slash.
        path: the container's PATH.

    Raises:
        MinirunError: exit code 127 when there is no such file, 126 when it cannot be executed.
    """
    if "/" in name:
        _require_executable(name, name)
        return name
    refused = None
    for directory in path.split(":"):
        candidate = f"{directory or '.'}/{name}"
        try:
            _require_executable(name, candidate)
        except MinirunError as error:
            if error.exit_code == EXIT_NOT_EXECUTABLE:
                refused = refused or error
        else:
            return candidate
    if refused is not None:
        raise refused
    raise MinirunError(
        f'exec: "{name}": executable file not found in $PATH',
        hint=f"PATH is {path or 'empty'}; is the program in the image?",
        exit_code=EXIT_NOT_FOUND,
    )


def _require_executable(name: str, path: str) -> None:
    """Raise unless the file exists, is a regular file and may be executed."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MinirunError(
            f'exec: "{name}": stat {path}: {_words(error)}',
            hint="is it in the image? a relative path starts at the working directory",
            exit_code=EXIT_NOT_FOUND,
        ) from error
    except OSError as error:
        raise MinirunError(
            f'exec: "{name}": {_words(error)}', exit_code=EXIT_NOT_EXECUTABLE
        ) from error
    if stat.S_ISDIR(status.st_mode):
        # Both reasons: engines look for words, and dockerd before 23 knows the second one only.
        raise MinirunError(
            f'exec: "{name}": is a directory: permission denied',
            hint="name a program in it",
            exit_code=EXIT_NOT_EXECUTABLE,
        )
    if not os.access(path, os.X_OK, effective_ids=True):
        raise MinirunError(
            f'exec: "{name}": permission denied',
            hint=f"chmod +x {path}, or run it through its interpreter",
            exit_code=EXIT_NOT_EXECUTABLE,
        )


def explain_exec_error(path: str, error: OSError) -> MinirunError:
    """Return what execve's errno does not say: which file is really missing or malformed."""
    text = f'exec: "{path}": {_words(error)}'
    if error.errno == errno.ENOENT:
        return MinirunError(text, hint=_missing_interpreter(path), exit_code=EXIT_NOT_FOUND)
    if error.errno == errno.ENOEXEC:
        hint = "a script needs a first line such as #!/bin/sh; a binary must be for this machine"
        return MinirunError(
            f'exec: "{path}": exec format error',
            hint=_foreign_architecture(path) or hint,
            exit_code=EXIT_NOT_EXECUTABLE,
        )
    return MinirunError(text, exit_code=EXIT_NOT_EXECUTABLE)


def _words(error: OSError) -> str:
    return os.strerror(error.errno or 0).lower()


def _head(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    head = os.read(fd, 4096)
    os.close(fd)
    return head


def _missing_interpreter(path: str) -> str:
    """Name the interpreter of a script or of an ELF file. See: elf(5), PT_INTERP."""
    head = _head(path)
    if head.startswith(b"#!"):
        line = head[2:].split(b"\n", 1)[0]
        words = line.split()
        interpreter = os.fsdecode(words[0]) if words else ""
        if line.endswith(b"\r"):
            return f"{path} has CRLF line endings: its interpreter is read as {interpreter!r}"
        return f"{path} wants the interpreter {interpreter}, which is not in the image"
    for field in head.split(b"\0"):
        if field.startswith(b"/") and b"ld" in field:
            return f"{path} wants the loader {os.fsdecode(field)}, which is not in the image"
    return ""


_MACHINES = {0x3E: "x86_64", 0xB7: "aarch64", 0x28: "arm", 0x03: "i386", 0xF3: "riscv64"}


def _foreign_architecture(path: str) -> str:
    """Say so when an ELF file is for another machine."""
    head = _head(path)
    if not head.startswith(b"\x7fELF") or len(head) < 20:
        return ""
    machine = _MACHINES.get(int.from_bytes(head[18:20], "little"), "another machine")
    here = os.uname().machine
    return f"{path} is for {machine}, this machine is {here}" if machine != here else ""
