"""05 Mounts of one's own, and how they leak.

Idea: a mount namespace is a private copy of the mount table: same files, own mount points. But the
    copy still listens: a mount point marked shared passes every mount below it on to its copies.
    So a runtime makes the whole tree private before it mounts anything.
Run: python examples/05_mount_namespace.py
Look: the tag shared:N in /proc/self/mountinfo, and which of the two children's mounts came through.
    systemd marks / shared when it boots, so on most machines this is about the real root.
Break it: swap the two children. The mount that leaked first is still there for the second.
Real world: minirun/steps/namespaces.py (MakeMountsPrivate); runc: rootfs_linux.go, prepareRoot
man: mount_namespaces(7), SHARED SUBTREES; proc_pid_mountinfo(5)
"""

from __future__ import annotations

import os

from stage import become_root, in_child

from minirun import kernel
from minirun.flags import Clone, Mount


def contain(*, private: bool) -> None:
    """Mount something in a namespace of our own."""
    kernel.unshare(Clone.CLONE_NEWNS)
    if private:
        kernel.mount(None, "/", None, Mount.MS_REC | Mount.MS_PRIVATE, None)
    kernel.mount("tmpfs", "/tmp/box", "tmpfs", Mount(0), None)
    open("/tmp/box/secret", "w").close()
    print(f"inside:  {list(mounts())}, and /tmp is {mounts()['/tmp']}")


def mounts() -> dict[str, str]:
    """Return {mount point: propagation tags} of what is mounted at /tmp and below."""
    with open("/proc/self/mountinfo") as file:
        lines = [line.partition(" - ")[0].split() for line in file]
    ours = ("/tmp", "/tmp/box")
    return {line[4]: " ".join(line[6:]) or "private" for line in lines if line[4] in ours}


become_root()
kernel.unshare(Clone.CLONE_NEWNS)  # this copy plays the host: what we do stays in here
kernel.mount("tmpfs", "/tmp", "tmpfs", Mount(0), None)
kernel.mount(None, "/tmp", None, Mount.MS_SHARED, None)
os.mkdir("/tmp/box")

in_child(lambda: contain(private=True))
# expect: inside:  ['/tmp', '/tmp/box'], and /tmp is private
print(f"outside: {list(mounts())}, {os.listdir('/tmp/box')}")
# expect: outside: ['/tmp'], []

in_child(lambda: contain(private=False))
# expect: inside:  ['/tmp', '/tmp/box'], and /tmp is shared:…
print(f"leaked:  {list(mounts())}, {os.listdir('/tmp/box')}")
# expect: leaked:  ['/tmp', '/tmp/box'], ['secret']
