"""A shim that has nothing to do keeps nothing that it does not need.

It was forked from a program that had parsed a command line, read an image and planned a start;
all of that stays in its memory. ``shed`` executes a bare interpreter in the same process: the pid,
the children and the chosen descriptors stay, everything else goes.
"""

from __future__ import annotations

import _socket
import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .supervise import Shim


def shed(shim: Shim) -> None:
    """Replace this process image by a bare shim; returns only if that is impossible."""
    from ..decode import encode

    assert shim.running is not None and shim.listener is not None  # noqa: PT018
    if shim.standby is not None:
        shim.standby.dismiss()
    facts = {
        "place": encode(shim.place),
        "running": encode(shim.running),
        "pidfd": shim.pidfd,
        "listener": shim.listener.fileno(),
        "started": shim.started,
        "restarts": shim.restarts,
        "delay_ms": shim.delay_ms,
    }
    for fd in (*shim.running.ends.all(), shim.pidfd, shim.listener.fileno()):
        os.set_inheritable(fd, True)
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    code = "import sys;sys.path.insert(0,sys.argv[1]);from minirun.shim.lean import main;main()"
    args = [sys.executable, "-I", "-S", "-X", "utf8", "-c", code, package, json.dumps(facts)]
    os.execve(sys.executable, args, {})


def main() -> None:
    """Be a shim again, with what ``shed`` handed over."""
    from ..decode import decode
    from .place import Place, Running
    from .supervise import Shim, become_shim

    facts = json.loads(sys.argv[2])
    become_shim()
    shim = Shim(decode(Place, facts["place"]), -1)
    shim.started, shim.restarts = facts["started"], facts["restarts"]
    shim.delay_ms = facts["delay_ms"]
    running, pidfd = decode(Running, facts["running"]), facts["pidfd"]
    for fd in (*running.ends.all(), pidfd, facts["listener"]):
        os.set_inheritable(fd, False)
    try:
        shim.resume(running, pidfd, _socket.socket(fileno=facts["listener"]))
        shim.loop()
    finally:
        os._exit(0)
