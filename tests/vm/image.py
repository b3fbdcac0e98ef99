"""The machine's disk, kernel and initrd: built once per recipe, kept outside the checkout.

    guest/*, constraints.txt, …  ─▶  hash  ─▶  <cache>/<hash>/{root.img,vmlinuz,initrd}

The hash covers what goes into the image and not the sources: those travel on a disk of their own at
every boot, so editing the code never rebuilds the machine.

Debian packages come from where this machine's own apt gets them, where it is the same release, and
Python packages from this machine's pip. Inside there is no network at all.

A build that is killed leaves a folder and nothing else: what it mounts (/sys, /dev/shm) is in a
mount namespace that ends with it. So no clean-up walks through a mount into this machine's files.

Next: ``machine.py``.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
GUEST = TOP / "tests" / "vm" / "guest"
RELEASE = "bookworm"
ROOT_BYTES = 6 << 30
PYTHON = "3.11"  # the release's own
MIRROR = "http://deb.debian.org/debian"
#: Wheels for the release's glibc, 2.36, or older. pip does not count down by itself.
GLIBC = ("2_34", "2_28", "2_27", "2_26", "2_24", "2_17", "2_12", "2_5")
ALIASES = ("manylinux2014", "manylinux2010", "manylinux1")
#: Each takes a minute or two; without a network, pip and apt would try for an hour.
STEP_S = 600
#: The end of these takes along, at once, whatever they have started and mounted.
#: See: PR_SET_PDEATHSIG(2const), pid_namespaces(7), mount_namespaces(7).
ALONE = "setpriv --pdeathsig KILL unshare --mount-proc --pid --fork --kill-child".split()


def cache() -> Path:
    """Return where images are kept: MINIRUN_VM_CACHE, else the user's cache folder."""
    if chosen := os.environ.get("MINIRUN_VM_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "minirun" / "vm"


def image() -> Path:
    """Return the folder of the machine's files, after building them if the recipe is new."""
    built = cache() / recipe()
    built.parent.mkdir(parents=True, exist_ok=True)
    with (cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _drop_older(built)
        if not built.exists():
            _build(built)
    return built


def recipe() -> str:
    """Return the hash over everything that the image is made of."""
    # Of pyproject.toml only the commands are in there: its dependencies are guest/requirements.txt.
    commands = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["scripts"]
    digest = hashlib.sha256(f"{RELEASE} {os.uname().machine} {commands}".encode())
    for source in (*sorted(GUEST.iterdir()), TOP / "constraints.txt", Path(__file__)):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def scratch(parent: Path, prefix: str) -> Iterator[Path]:
    """Yield a folder in the cache that is gone afterwards; the lock on it says that we live."""
    with tempfile.TemporaryDirectory(dir=parent, prefix=prefix) as name:
        held = os.open(name, os.O_RDONLY)
        fcntl.flock(held, fcntl.LOCK_SH)
        try:
            yield Path(name)
        finally:
            os.close(held)


def _drop_older(built: Path) -> None:
    """Keep the newest recipe alone: images are gigabytes. What was killed has left folders too.

    A machine that runs keeps what it has opened, and needs its own folder in the end.
    """
    for folder in cache().iterdir():
        if folder.is_dir() and folder != built and not _is_held(folder):
            # Whatever is mounted in there, it is not ours to empty.
            subprocess.run(["rm", "-rf", "--one-file-system", folder], check=False)


def _is_held(folder: Path) -> bool:
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(held)
    return False


def _build(built: Path) -> None:
    if os.geteuid() != 0:
        sys.exit("vm: building the image needs root\nhint: sudo scripts/vm build")
    print(f"vm: building the image in {built}, once for this recipe", file=sys.stderr, flush=True)
    with scratch(built.parent, "build-") as work:
        _wheels(work / "wheels")
        _bootstrap(work / "root", work / "wheels")
        _files(work / "root", work / "made")
        (work / "made").rename(built)


def _wheels(where: Path) -> None:
    """Download what the machine's Python will install, with this machine's pip settings."""
    tags = [*(f"manylinux_{version}" for version in GLIBC), *ALIASES]
    argv = [sys.executable, "-m", "pip", "download", "-qq", "--dest", str(where)]
    argv += ["--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}"]
    argv += [f"--platform={tag}_{os.uname().machine}" for tag in tags]
    argv += ["-c", str(TOP / "constraints.txt"), "-r", str(GUEST / "requirements.txt")]
    _command(argv)


def _bootstrap(root: Path, wheels: Path) -> None:
    """Let mmdebstrap install Debian, and our hook finish it."""
    options = root.with_name("apt.conf")
    options.write_text(_apt_settings())
    packages = (GUEST / "packages.txt").read_text().splitlines()
    included = ",".join(line for line in packages if line and not line.startswith("#"))
    # mmdebstrap gives it to a shell, and sets $1 to the root.
    hook = f'{shlex.quote(str(GUEST / "prepare"))} "$1" {shlex.quote(str(wheels))}'
    argv = ["mmdebstrap", "--variant=minbase", "--format=directory", f"--include={included}"]
    argv += [f"--aptopt={options}", f"--customize-hook={hook}", RELEASE, str(root), _mirror()]
    # What it notes for apt and gpg in the temporary folder goes away with everything else.
    _command(argv, TMPDIR=str(root.parent))


def _command(argv: list[str], **environment: str) -> None:
    """Run one command of the build; end with what it said where it fails or takes too long."""
    why = ""
    with subprocess.Popen(
        [*ALONE, *argv], env={**os.environ, **environment},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as made:  # fmt: skip
        try:
            made.communicate(timeout=STEP_S)
        except subprocess.TimeoutExpired:
            why = f"took more than {STEP_S} s"
        finally:
            made.kill()
            said, _ = made.communicate()  # all of it; it ends when all that it started has ended
    if made.returncode:
        print(said[-4000:], file=sys.stderr)
        why = why or f"exited {made.returncode}"
        hint = "it needs this machine's apt and pip servers: can they be reached?"
        sys.exit(f"vm: building the image: {Path(argv[0]).name} {why}\nhint: {hint}")


def _files(root: Path, made: Path) -> None:
    """Turn the tree into what qemu boots from."""
    made.mkdir()
    for pattern, name in (("vmlinuz-*", "vmlinuz"), ("initrd.img-*", "initrd")):
        (newest,) = (root / "boot").glob(pattern)
        shutil.copy(newest, made / name)
    # No journal: every boot starts from this same image, so nobody reads it after a crash.
    argv = ["mke2fs", "-q", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d", str(root)]
    _command([*argv, str(made / "root.img"), f"{ROOT_BYTES >> 20}M"])


def _apt_settings() -> str:
    """Return how this machine's apt reaches its servers: proxies, certificates, retries."""
    if shutil.which("apt-config") is None:
        return ""
    dump = subprocess.run(["apt-config", "dump"], check=True, capture_output=True, text=True)
    lines = (line for line in dump.stdout.splitlines() if line.startswith("Acquire::"))
    return "".join(line + "\n" for line in lines)


def _mirror() -> str:
    """Return this machine's own list of servers where it has the same release, else Debian's."""
    if chosen := os.environ.get("MINIRUN_VM_MIRROR"):
        return chosen
    listed = Path("/etc/apt/sources.list.d/debian.sources")
    if listed.exists() and RELEASE in listed.read_text():
        return str(listed)
    listed = Path("/etc/apt/sources.list")
    return str(listed) if listed.exists() and RELEASE in listed.read_text() else MIRROR
