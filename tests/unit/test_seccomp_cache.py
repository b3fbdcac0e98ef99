"""The cache: a hit is the same bytes and loads nothing; whatever is odd is a miss or refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from minirun.capabilities import DEFAULT
from minirun.errors import HostError, SpecError
from minirun.seccomp import compiled, default_filter
from minirun.seccomp.compile import compile_filter
from minirun.seccomp.profile import default_profile, resolve
from minirun.spec import Seccomp, SyscallRule

pytestmark = pytest.mark.requires("seccomp")

SECCOMP = Seccomp("SCMP_ACT_ERRNO", syscalls=(SyscallRule(("getpid",), "SCMP_ACT_ALLOW"),))
FORGED = b"\x06\0\0\0\0\0\xff\x7f"  # ret ALLOW


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "seccomp"


def only_entry(folder: Path) -> Path:
    (entry,) = folder.iterdir()
    return entry


def test_compiled_remembers(folder: Path) -> None:
    first = compiled(SECCOMP, str(folder))
    before = only_entry(folder).stat().st_ino
    assert compiled(SECCOMP, str(folder)) == first == compile_filter(SECCOMP)
    assert only_entry(folder).stat().st_ino == before, "the second call wrote the entry again"


def test_compiled_makes_a_private_folder(folder: Path) -> None:
    compiled(SECCOMP, str(folder / "deep"))
    assert (folder / "deep").stat().st_mode & 0o777 == 0o700
    assert only_entry(folder / "deep").stat().st_mode & 0o777 == 0o600


def test_compiled_keeps_different_profiles_apart(folder: Path) -> None:
    other = Seccomp("SCMP_ACT_ERRNO", 2, syscalls=SECCOMP.syscalls)
    assert compiled(SECCOMP, str(folder)) != compiled(other, str(folder))
    assert len(list(folder.iterdir())) == 2


def test_compiled_refuses_a_bad_profile_every_time(folder: Path) -> None:
    bad = Seccomp("SCMP_ACT_ALLOW", flags=("NONSENSE",))
    for _ in range(2):
        with pytest.raises(SpecError, match="NONSENSE"):
            compiled(bad, str(folder))


def test_default_filter_is_the_default_profile(folder: Path) -> None:
    host = os.uname()
    expected = compile_filter(resolve(default_profile(), DEFAULT, host.machine, host.release))
    assert default_filter(DEFAULT, str(folder)) == expected
    assert default_filter(reversed(DEFAULT), str(folder)) == expected
    assert len(list(folder.iterdir())) == 1
    assert default_filter(("CAP_SYS_ADMIN",), str(folder)) != expected


_HIT = """
import sys
before = set(sys.modules)
from minirun.seccomp import default_filter
default_filter(["CAP_CHOWN"], sys.argv[1])
print(*sorted(set(sys.modules) - before))
"""


def test_default_filter_loads_neither_compiler_nor_parser_on_a_hit(folder: Path) -> None:
    default_filter(["CAP_CHOWN"], str(folder))
    done = subprocess.run(
        [sys.executable, "-c", _HIT, str(folder)], capture_output=True, text=True, check=True
    )
    heavy = {"ctypes", "hashlib", "json", "pyseccomp", "subprocess", "minirun.spec"}
    assert not heavy & set(done.stdout.split())


# ---- trust --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o755, 0o701])
def test_compiled_refuses_a_folder_that_others_can_enter(folder: Path, mode: int) -> None:
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(HostError, match=f"is open to others: owner .*, mode {mode:04o}") as caught:
        compiled(SECCOMP, str(folder))
    assert caught.value.hint.startswith("remove it")
    assert not list(folder.iterdir())


@pytest.mark.requires("root")
def test_compiled_refuses_a_folder_of_someone_else(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)
    with pytest.raises(HostError, match="owner 65534"):
        compiled(SECCOMP, str(folder))


def test_compiled_refuses_a_folder_behind_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HostError, match="seccomp cache"):
        compiled(SECCOMP, str(folder))


def test_compiled_replaces_an_entry_that_others_could_have_written(folder: Path) -> None:
    program = compiled(SECCOMP, str(folder))
    forged = only_entry(folder)
    forged.write_bytes(forged.read_bytes()[: -len(program)] + FORGED)
    forged.chmod(0o666)
    assert compiled(SECCOMP, str(folder)) == program


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"minirun-seccomp 1 ", b"minirun-seccomp 2 "),  # another format
        (b"SCMP_ACT_ERRNO", b"SCMP_ACT_ALLOW"),  # another question
        (b"libseccomp.so", b"libseccomp-of-nowhere.so"),  # another library
    ],
)
def test_compiled_does_not_believe_an_entry_that_differs(
    folder: Path, old: bytes, new: bytes
) -> None:
    program = compiled(SECCOMP, str(folder))
    entry = only_entry(folder)
    changed = entry.read_bytes().replace(old, new)
    assert changed != entry.read_bytes()
    entry.write_bytes(changed[: -len(program)] + FORGED * (len(program) // 8))
    assert compiled(SECCOMP, str(folder)) == program


@pytest.mark.parametrize("kept", [0, 10, 200, -8, -1])
def test_compiled_does_not_believe_half_an_entry(folder: Path, kept: int) -> None:
    """What if the machine lost power between write and rename reaching the disk?"""
    program = compiled(SECCOMP, str(folder))
    entry = only_entry(folder)
    entry.write_bytes(entry.read_bytes()[:kept])
    assert compiled(SECCOMP, str(folder)) == program


def test_compiled_works_where_nothing_can_be_kept() -> None:
    """/proc is a folder that not even root can write to."""
    with pytest.raises(HostError, match="open to others"):
        compiled(SECCOMP, "/proc")
    with pytest.raises(HostError, match="seccomp cache /proc/seccomp: No such file"):
        compiled(SECCOMP, "/proc/seccomp")
