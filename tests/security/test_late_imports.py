"""P1 and CVE-2019-14271: the runtime runs the image's code, because it loads something late.

Mechanism: after pivot_root ``sys.path`` and the dynamic loader's directories are the image's. An
import, a codec, a name looked up through NSS or a locale then runs a file of the image, as the
runtime's root and outside of every limit of the container. ``docker cp`` did so with libnss.

Defence: what a start needs is imported before; with the root the import system loses every place to
look (``steps/rootfs.py``, forget_imports); users are read from the image by hand
(``steps/identity.py``). Witnesses that are only in the test look at ``sys.modules`` and at the
process's own mappings on both sides of what lies between the new root and execve.

glibc reads nsswitch.conf once, and not again where the root has changed since: in a process that
has looked up a name before, a careless look-up would load nothing and prove nothing. So whatever
looks at mappings runs in an interpreter of its own.
"""

from __future__ import annotations

import json
import os
import pwd
import sys
import sysconfig
from pathlib import Path

import pytest

from minirun.execute import execute, process_like
from minirun.lifecycle import Container
from minirun.steps import rootfs
from minirun.steps.base import Context, Step
from tests.security.lab import Bundle, Weakening, attempt, attempt_afresh, insert, put

pytestmark = pytest.mark.requires("root", "busybox")

POISON = "open('/pwned', 'w').write(__name__)\n"
#: Not imported by anything here, and there in every Python.
LATE = "this_is_never_imported_before_the_root_changes", "antigravity"


class ImportSomething(Step):
    """What a late import looks like: a codec, a traceback, a subprocess."""

    id = "import-something"

    def apply(self, context: Context) -> None:
        del context
        for name in LATE:
            try:
                __import__(name)
            except (ImportError, ImportWarning):  # the warning: there is no finder left
                continue


class LookUpUser(Step):
    """What getpwnam(3) does: read the image's nsswitch.conf, load the image's library."""

    id = "look-up-user"

    def apply(self, context: Context) -> None:
        del context
        try:
            pwd.getpwnam("nobody-knows-me")
        except KeyError:
            return


class Witness(Step):
    """Write down what is loaded at this moment."""

    id = "witness"

    name: str

    def apply(self, context: Context) -> None:
        maps = os.open("/proc/self/maps", os.O_RDONLY)
        text = b"".join(iter(lambda: os.read(maps, 65536), b"")).decode()
        os.close(maps)
        files = {line.split()[5] for line in text.splitlines() if len(line.split()) > 5}
        found = {"modules": sorted(sys.modules), "files": sorted(files)}
        flags = os.O_WRONLY | os.O_CREAT
        fd = os.open(f"report-{self.name}", flags, 0o666, dir_fd=context.rootfs_fd)
        os.write(fd, json.dumps(found).encode())
        os.close(fd)


def poison(bundle: Bundle) -> None:
    """Put traps wherever an interpreter or the dynamic loader may look."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    loaded = {str(stdlib), sysconfig.get_path("purelib"), "/", "/work", *filter(None, sys.path)}
    for directory in loaded:
        inside = bundle.rootfs / directory.strip("/")
        inside.mkdir(parents=True, exist_ok=True)
        for name in (*LATE, "json", "traceback", "stringprep", "encodings/idna"):
            (inside / name).parent.mkdir(exist_ok=True)
            (inside / f"{name}.py").write_text(POISON)
    (bundle.rootfs / "etc/nsswitch.conf").write_text("passwd: evil\ngroup: evil\n")
    library = next(p for d in ("/lib/x86_64-linux-gnu", "/lib64", "/lib/aarch64-linux-gnu")
                   for p in Path(d).glob("libz.so.1"))  # fmt: skip
    for directory in ("lib", "lib64", "usr/lib", "lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu"):
        inside = bundle.rootfs / directory
        inside.mkdir(parents=True, exist_ok=True)
        for name in ("libnss_evil.so.2", "libnss_files.so.2", "libgcc_s.so.1"):
            (inside / name).write_bytes(library.read_bytes())


def report(bundle: Bundle, name: str) -> dict[str, set[str]]:
    held = json.loads((bundle.rootfs / f"report-{name}").read_text())
    return {key: set(values) for key, values in held.items()}


def test_weak_runtime_runs_the_images_module(bundle: Bundle) -> None:
    poison(bundle)
    late = insert(ImportSomething(), after="pivot-root")

    outcome = attempt(bundle, late, put(rootfs, "forget_imports", lambda: None))

    assert outcome.ran, outcome
    assert (bundle.rootfs / "pwned").read_text() in LATE


def test_late_import_finds_nothing(bundle: Bundle) -> None:
    poison(bundle)

    outcome = attempt(bundle, insert(ImportSomething(), after="pivot-root"))

    assert outcome.ran, outcome
    assert not (bundle.rootfs / "pwned").exists()


def look_up_in_the_new_root() -> list[Weakening]:
    return [
        insert(Witness("after"), after="pivot-root"),
        insert(LookUpUser(), after="pivot-root"),
        insert(Witness("before"), after="pivot-root"),
    ]


def watch_until_identity() -> list[Weakening]:
    return [
        insert(Witness("before"), after="pivot-root"),
        insert(Witness("after"), before="identity"),
    ]


def watch_until_execve() -> list[Weakening]:
    return [
        insert(Witness("before"), after="pivot-root"),
        insert(Witness("after"), before="close-fds"),
    ]


def watch_an_exec(container: Container) -> None:
    """Run one more program in the container, with witnesses on its way."""
    insert(Witness("before"), after="fork-process")()
    insert(Witness("after"), before="close-fds")()
    process = process_like(container.directory.read_spec(), ["true"])
    os.waitpid(execute(container, process).pid, 0)
    container.kill(9)


def test_weak_runtime_loads_the_images_library(bundle: Bundle) -> None:
    poison(bundle)

    outcome = attempt_afresh(bundle, look_up_in_the_new_root)

    assert outcome.ran, outcome
    new = report(bundle, "after")["files"] - report(bundle, "before")["files"]
    assert any("libnss_evil" in file for file in new), new


@pytest.mark.parametrize("uid", [0, 1000, 4294967294])
def test_start_loads_nothing_in_the_new_root(bundle: Bundle, uid: int) -> None:
    """With a user to find a home for, files to mask, limits, a hook and a program in PATH."""
    poison(bundle)
    bundle.config["process"]["user"] = {"uid": uid, "gid": uid}
    bundle.config["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}]
    bundle.config["linux"]["maskedPaths"] = ["/proc/kcore", "/nowhere"]
    bundle.config["linux"]["readonlyPaths"] = ["/proc/sys"]

    outcome = attempt_afresh(bundle, watch_until_identity)

    assert outcome.ran, outcome
    assert report(bundle, "before") == report(bundle, "after")
    assert not (bundle.rootfs / "pwned").exists()


def test_start_loads_nothing_up_to_execve(bundle: Bundle) -> None:
    poison(bundle)

    outcome = attempt_afresh(bundle, watch_until_execve)

    assert outcome.ran, outcome
    assert report(bundle, "before") == report(bundle, "after")


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["missing"], "executable file not found in $PATH"),
        (["/etc/nsswitch.conf"], "permission denied"),
        (["/work"], "is a directory"),
        (["/bad-script"], "no such file or directory"),
        (["/garbage"], "exec format error"),
    ],
)
def test_failure_loads_nothing_either(bundle: Bundle, args: list[str], text: str) -> None:
    """Errors are where lazy imports hide: traceback, codecs, gettext."""
    poison(bundle)
    for name, content in (("bad-script", "#!/no/such/interpreter\n"), ("garbage", "\x7f?")):
        (bundle.rootfs / name).write_text(content)
        (bundle.rootfs / name).chmod(0o755)
    bundle.run(*args)

    outcome = attempt(bundle)

    assert text in outcome.error, outcome
    assert not (bundle.rootfs / "pwned").exists()


def test_exec_loads_nothing_in_the_container(bundle: Bundle) -> None:
    poison(bundle)
    bundle.script("sleep 20")

    outcome = attempt_afresh(bundle, list, watch_an_exec)

    assert outcome.ran, outcome
    assert report(bundle, "before") == report(bundle, "after")
    assert not (bundle.rootfs / "pwned").exists()
