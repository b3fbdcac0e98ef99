"""One boot of the machine: the checkout goes in on a disk, a job runs, its results come out.

    checkout ─▶ mke2fs ─▶ disk 2 ┐
                                 ├─▶ qemu ─▶ tar on disk 3 ─▶ build/vm/
    image (read-only) ─▶  disk 1 ┘     └───▶ /dev/hvc0, the job's terminal ─▶ our stdout

Every boot starts from the same image: qemu keeps what the machine writes in a file of its own that
vanishes with it. Processors are emulated (TCG), so this works inside another virtual machine too.

qemu ends with us, whatever ends us: the kernel is asked for that. The boot's folder goes with us
too, or else at the next boot: whoever lives holds a lock on it.

Next: ``__main__.py``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.vm.image import TOP, image, scratch

RESULTS = Path(os.environ.get("MINIRUN_VM_RESULTS") or TOP / "build" / "vm")
MEMORY_MIB = 3072
RESULTS_BYTES = 256 << 20
CHECKOUT_BYTES = 2 << 30
#: Twenty seconds are usual; here it may have two busy processors to itself, or less.
BOOT_S = 300
#: What guest/minirun-vm-job says on the console when it starts.
BOOTED = "minirun-vm: the job starts"
#: What the job's exit code is when the machine never said one.
LOST = 70


def boot(job: str, *, timeout_s: float, interactive: bool = False) -> int:
    """Run a shell script as root inside the machine; return its exit code.

    Args:
        job: the script. It starts in the checkout and may leave files in ``$OUT``.
        timeout_s: after this the machine is switched off.
        interactive: give the job our terminal instead of a pipe.

    Returns:
        The script's code, ``LOST`` where the machine ended without one. What it left in ``$OUT``
        is in ``build/vm/`` then, beside ``console.log``.
    """
    built = image()
    shutil.rmtree(RESULTS, ignore_errors=True)
    RESULTS.mkdir(parents=True)
    with scratch(built.parent, "boot-") as work:
        _pack_checkout(work, job)
        with (work / "results.img").open("wb") as empty:
            empty.truncate(RESULTS_BYTES)
        _run(_qemu(built, work), timeout_s=timeout_s, interactive=interactive)
        return _collect(work / "results.img")


def _pack_checkout(work: Path, job: str) -> None:
    """Put what git would commit, changed or not, on a disk; never what it ignores."""
    tree = work / "tree"
    for name in _sources(work / "git"):
        if (TOP / name).is_symlink() or (TOP / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TOP / name, tree / name, follow_symlinks=False)
    script = tree / "build" / "vm" / "job"
    script.parent.mkdir(parents=True)
    script.write_text(job)
    disk = work / "checkout.img"
    argv = ["mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-E", "root_owner=0:0"]
    argv += ["-d", str(tree), str(disk), f"{CHECKOUT_BYTES >> 20}M"]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(tree)


def _sources(empty: Path) -> list[str]:
    """Return the names of all files that .gitignore does not leave out.

    To an empty repository they are all new: so the checkout needs none, and may be another user's.
    """
    git = ["git", "--git-dir", str(empty), "--work-tree", "."]
    subprocess.run([*git, "init", "-q"], cwd=TOP, check=True)
    listed = subprocess.run(
        [*git, "ls-files", "-z", "--others", "--exclude-standard"],
        cwd=TOP, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return listed.stdout.split("\0")[:-1]


def _qemu(built: Path, work: Path) -> list[str]:
    accelerator = os.environ.get("MINIRUN_VM_ACCEL", "tcg,thread=multi")
    processor = "max" if accelerator.startswith("tcg") else "host"
    # A machine that nobody waits for any more would run for ever. See: PR_SET_PDEATHSIG(2const).
    argv = ["setpriv", "--pdeathsig", "KILL", f"qemu-system-{os.uname().machine}"]
    argv += ["-nodefaults", "-no-user-config", "-no-reboot"]
    argv += ["-accel", accelerator, "-cpu", processor, "-smp", "2", "-m", str(MEMORY_MIB)]
    argv += ["-display", "none", "-nic", "none", "-device", "virtio-rng-pci"]
    argv += ["-kernel", f"{built}/vmlinuz", "-initrd", f"{built}/initrd"]
    argv += ["-append", "root=/dev/disk/by-id/virtio-root rw console=ttyS0 panic=-1 quiet"]
    argv += ["-serial", "file:" + _escaped(RESULTS / "console.log")]
    argv += ["-device", "virtio-serial-pci", "-chardev", "stdio,id=job,signal=off"]
    argv += ["-device", "virtconsole,chardev=job"]
    for disk, name in ((built / "root.img", "root"), (work / "checkout.img", "checkout")):
        argv += _disk(disk, name, "snapshot=on")
    return argv + _disk(work / "results.img", "results", "cache=unsafe")


def _disk(file: Path, name: str, option: str) -> list[str]:
    return [
        *("-drive", f"file={_escaped(file)},format=raw,if=none,id={name},{option}"),
        *("-device", f"virtio-blk-pci,drive={name},serial={name}"),
    ]


def _escaped(file: Path) -> str:
    """Return a path as one value of qemu's: a comma would end it."""
    return str(file).replace(",", ",,")


def _run(argv: list[str], *, timeout_s: float, interactive: bool) -> None:
    """Run qemu; its standard output is what the job says."""
    stdin = None if interactive else subprocess.DEVNULL
    with subprocess.Popen(argv, stdin=stdin) as machine:
        try:
            if _ended(machine, min(BOOT_S, timeout_s)):
                return
            if BOOTED not in _console():
                print(f"vm: not booted after {BOOT_S} s, switched off", file=sys.stderr)
            elif not _ended(machine, timeout_s - BOOT_S):
                print(f"vm: switched off after {timeout_s:.0f} s", file=sys.stderr)
        finally:
            machine.kill()


def _ended(machine: subprocess.Popen[bytes], within_s: float) -> bool:
    try:
        machine.wait(max(within_s, 0))
    except subprocess.TimeoutExpired:
        return False
    return True


def _console() -> str:
    """Return what the kernel and the init have said so far."""
    log = RESULTS / "console.log"
    return log.read_text(errors="replace") if log.exists() else ""


def _collect(disk: Path) -> int:
    """Unpack the results; return the job's exit code."""
    try:
        with tarfile.open(disk, "r:") as results:
            results.extractall(RESULTS, filter="data")
        return int((RESULTS / "status").read_text())
    except (tarfile.TarError, FileNotFoundError):
        said = _console().splitlines()[-20:]
        print("vm: the machine ended without a result; its console:", *said, sep="\n  ")
        return LOST
