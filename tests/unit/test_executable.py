"""Which program runs, and the words and exit codes for why none does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from minirun.errors import MinirunError
from minirun.executable import explain_exec_error, find_executable


def program(path: Path, content: bytes = b"#!/bin/sh\n", mode: int = 0o755) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def refusal(name: str, path: str = "") -> MinirunError:
    with pytest.raises(MinirunError) as caught:
        find_executable(name, path)
    return caught.value


def explained(path: str) -> MinirunError:
    """Let the kernel refuse the program, and return what is said of its errno."""
    with pytest.raises(OSError, match="Errno") as caught:
        subprocess.run([path], check=False)
    return explain_exec_error(path, caught.value)


# ---- find_executable ----------------------------------------------------------------------------


def test_find_executable_takes_the_first_that_can_run(tmp_path: Path) -> None:
    program(tmp_path / "a/tool", mode=0o644)
    (tmp_path / "b/tool").mkdir(parents=True)
    expected = program(tmp_path / "c/tool")
    program(tmp_path / "d/tool")
    path = ":".join(f"{tmp_path}/{name}" for name in "nabcd")
    assert find_executable("tool", path) == expected


def test_find_executable_never_looks_up_a_path(tmp_path: Path) -> None:
    tool = program(tmp_path / "tool")
    assert find_executable(tool, "") == tool
    assert refusal("x/tool", str(tmp_path)).exit_code == 127


def test_find_executable_reads_an_empty_entry_as_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "tool")
    monkeypatch.chdir(tmp_path)
    assert find_executable("tool", "/nowhere:") == "./tool"


def test_find_executable_says_not_found_in_path() -> None:
    error = refusal("tool", "/nowhere")
    assert str(error) == 'exec: "tool": executable file not found in $PATH'
    assert error.exit_code == 127
    assert "/nowhere" in error.hint


def test_find_executable_says_which_file_is_missing(tmp_path: Path) -> None:
    name = program(tmp_path / "file") + "/tool"
    assert str(refusal("/no/tool")) == 'exec: "/no/tool": stat /no/tool: no such file or directory'
    assert str(refusal(name)) == f'exec: "{name}": stat {name}: not a directory'
    assert refusal(name).exit_code == 127


def test_find_executable_refuses_what_cannot_run(tmp_path: Path) -> None:
    plain = program(tmp_path / "plain", mode=0o644)
    (tmp_path / "loop").symlink_to("loop")
    cases = {
        plain: "permission denied",
        str(tmp_path): "is a directory: permission denied",
        f"{tmp_path}/loop": "too many levels of symbolic links",
    }
    for name, words in cases.items():
        error = refusal(name)
        assert (str(error), error.exit_code) == (f'exec: "{name}": {words}', 126)
    assert f"chmod +x {plain}" in refusal(plain).hint


def test_find_executable_prefers_126_to_not_found(tmp_path: Path) -> None:
    program(tmp_path / "tool", mode=0o644)
    error = refusal("tool", f"{tmp_path}:/nowhere")
    assert (str(error), error.exit_code) == ('exec: "tool": permission denied', 126)


# ---- explain_exec_error -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"#!/bin/sh\r\necho\r\n", "has CRLF line endings: its interpreter is read as '/bin/sh'"),
        (b"#!/no/python -u\n", "wants the interpreter /no/python, which is not in the image"),
    ],
)
def test_explain_names_a_missing_interpreter(tmp_path: Path, content: bytes, hint: str) -> None:
    path = program(tmp_path / "script", content)
    error = explained(path)
    assert str(error) == f'exec: "{path}": no such file or directory'
    assert error.hint == f"{path} {hint}"
    assert error.exit_code == 127


def test_explain_names_a_missing_loader(tmp_path: Path) -> None:
    """What if a program for glibc is in an image with musl?"""
    real = Path(shutil.which("true") or "").read_bytes()
    found = re.search(rb"/lib[^\0]*/ld[^\0]*", real)
    assert found, "true is not linked dynamically"
    loader = b"/lib/ld-" + b"x" * (len(found[0]) - 8)
    error = explained(program(tmp_path / "true", real.replace(found[0], loader)))
    assert f"wants the loader {loader.decode()}, which is not in the image" in error.hint
    assert error.exit_code == 127


@pytest.mark.parametrize(("machine", "name"), [(0xF3, "riscv64"), (0x1234, "another machine")])
def test_explain_names_a_foreign_machine(tmp_path: Path, machine: int, name: str) -> None:
    ident = b"\x7fELF\2\1\1" + bytes(9)
    header = ident + (2).to_bytes(2, "little") + machine.to_bytes(2, "little") + bytes(100)
    path = program(tmp_path / "tool", header)
    error = explained(path)
    assert str(error) == f'exec: "{path}": exec format error'
    assert error.hint == f"{path} is for {name}, this machine is {os.uname().machine}"
    assert error.exit_code == 126


def test_explain_asks_for_a_first_line(tmp_path: Path) -> None:
    error = explained(program(tmp_path / "script", b"echo no first line\n"))
    assert "#!/bin/sh" in error.hint
    assert error.exit_code == 126


def test_explain_keeps_any_other_words(tmp_path: Path) -> None:
    error = explained(program(tmp_path / "plain", mode=0o644))
    assert str(error).endswith(": permission denied")
    assert error.exit_code == 126
