"""07 A writable layer over an image that does not change.

Idea: overlayfs shows several directories as one. The lower ones are the image's layers, shared by
    all its containers and never written. What a container changes is copied up to its upper
    directory; what it deletes is covered by a whiteout, a character device with the number 0,0.
Run: python examples/07_overlay.py
Look: merged and lower disagree about the same names. The upper directory is the difference, which
    is all that `minirun commit` has to pack to make a new layer of it.
Break it: write to /tmp/lower/motd after the mount. No error, but what the overlay shows from then
    on is undefined: images must stay as they are.
Real world: minirun/steps/overlay.py (MountOverlay); containerd's overlayfs snapshotter
man: mount(8), overlay; Documentation/filesystems/overlayfs.rst
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from stage import become_root, private_tmp

from minirun import kernel
from minirun.flags import Mount

lower, upper, work, merged = (Path("/tmp", name) for name in ("lower", "upper", "work", "merged"))

become_root()
private_tmp()
for directory in (lower, upper, work, merged):
    directory.mkdir()
(lower / "motd").write_text("from the image")
(lower / "junk").write_text("nobody wants this")

layers = f"lowerdir={lower},upperdir={upper},workdir={work}"
kernel.mount("overlay", str(merged), "overlay", Mount(0), layers)
print(f"at first: {sorted(os.listdir(merged))}, upper: {os.listdir(upper)}")
# expect: at first: ['junk', 'motd'], upper: []

(merged / "motd").write_text("from the container")
print(f"merged says {(merged / 'motd').read_text()!r}, lower {(lower / 'motd').read_text()!r}")
# expect: merged says 'from the container', lower 'from the image'
print(f"copied up: {os.listdir(upper)}")
# expect: copied up: ['motd']

(merged / "junk").unlink()
print(f"deleted: {os.listdir(merged)}, but lower still has {sorted(os.listdir(lower))}")
# expect: deleted: ['motd'], but lower still has ['junk', 'motd']
whiteout = os.stat(upper / "junk")
print(f"the whiteout is a character device: {stat.S_ISCHR(whiteout.st_mode)}, {whiteout.st_rdev}")
# expect: the whiteout is a character device: True, 0
