"""What a program expects around it: a shell, users, certificates, time zones, name lookup.

A Python alone does not start a ``RUN`` line, verify a certificate or know what time it is in
Lisbon. Each function below puts one of these into the stage. Nothing private of the host goes
along: the certificates are the public ones that its distribution ships, without those an
administrator added, and the user database is written here.

Next: ``capture.py``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from ..errors import HostError
from . import elf
from .capture_stage import Stage

_FILES = {
    "/etc/passwd": (
        "root:x:0:0:root:/root:/bin/sh\n"
        "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    ),
    "/etc/group": "root:x:0:\ndaemon:x:1:\ntty:x:5:\nusers:x:100:\nnogroup:x:65534:\n",
    "/etc/hosts": "127.0.0.1\tlocalhost\n::1\tlocalhost\n",
    # Mounted over at run time: an empty file here means no mount point is left in a layer.
    "/etc/hostname": "",
    "/etc/resolv.conf": "",
    "/etc/nsswitch.conf": (
        "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"
        "networks: files\nprotocols: files\nservices: files\n"
    ),
    "/etc/os-release": 'NAME="minirun"\nID=minirun\nPRETTY_NAME="minirun captured Python"\n',
}
_FOLDERS = {
    **dict.fromkeys(
        ("/dev", "/proc", "/sys", "/run", "/etc", "/home", "/mnt", "/opt", "/srv"), 0o755
    ),
    **dict.fromkeys(("/usr/bin", "/usr/sbin", "/usr/lib", "/usr/local/bin", "/var/lib"), 0o755),
    "/root": 0o700,
    "/tmp": 0o1777,  # the image's, not the host's
    "/var/tmp": 0o1777,
}
_COPIED = ("/etc/services", "/etc/protocols", "/etc/mime.types")
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def add_skeleton(stage: Stage) -> None:
    """Make the folders, the links into /usr and the files of /etc."""
    for folder, mode in _FOLDERS.items():
        stage.folder(folder, mode)
    for name in ("bin", "sbin", "lib", "lib64"):
        stage.folder(f"/usr/{name}")
        stage.link(f"/{name}", f"usr/{name}")
    stage.link("/var/run", "../run")
    for path, content in _FILES.items():
        stage.write(path, content)
    for path in _COPIED:
        if os.path.isfile(path):
            stage.copy(path, path)


def add_busybox(stage: Stage, busybox: str | None = None) -> None:
    """Make busybox the shell, with a link for each of its commands.

    Raises:
        HostError: there is none, or it is linked dynamically and may not find its libraries.
    """
    hint = "install the package busybox-static"
    found = busybox or shutil.which("busybox")
    if found is None:
        raise HostError("no busybox in PATH: it becomes the image's /bin/sh", hint=hint)
    if elf.parse(Path(found).read_bytes()).interpreter:
        raise HostError(f"{found} is not a static program", hint=hint)
    stage.copy(os.path.realpath(found), "/bin/busybox")
    listed = subprocess.run([found, "--list-full"], capture_output=True, text=True, check=True)
    for applet in sorted(listed.stdout.split()):
        stage.link(f"/{applet}", "/bin/busybox")


def add_certificates(stage: Stage, cafile: str, fallback: str) -> None:
    """Add the public certificate authorities, where OpenSSL and other programs look for them.

    Args:
        stage: the image.
        cafile: where this Python's OpenSSL looks.
        fallback: a bundle to use on a host without the ca-certificates package: pip's own.

    Raises:
        HostError: neither is there.
    """
    public = sorted(Path("/usr/share/ca-certificates").rglob("*.crt"))
    if public:
        bundle = b"".join(path.read_bytes().rstrip(b"\n") + b"\n" for path in public)
    elif os.path.isfile(fallback):
        bundle = Path(fallback).read_bytes()
    else:
        raise HostError("no certificate authorities found", hint="install ca-certificates")
    stage.write(CERTIFICATES, bundle)
    if cafile and cafile != CERTIFICATES:
        stage.link(cafile, CERTIFICATES)


def add_time_zones(stage: Stage) -> None:
    """Add the time zone database, where the host has one, and UTC as local time."""
    database = "/usr/share/zoneinfo"
    if not os.path.isdir(database):
        return
    # posix/ repeats everything, right/ counts leap seconds: neither is read by name.
    stage.tree(database, database, lambda p: p in ("posix", "right", "localtime", "posixrules"))
    stage.link("/etc/localtime", f"{database}/Etc/UTC")
