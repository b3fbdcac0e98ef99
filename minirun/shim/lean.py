"""A shim that has nothing to do keeps nothing that it does not need.

It was forked from a program that had parsed a command line, read an image and planned a start;
all of that stays in its memory. ``shed`` executes a bare interpreter in the same process: the pid,
the children and the chosen descriptors stay, everything else goes. ``wake`` is the way back.

Waking costs some 30 ms of processor time, so a container that wakes its shim again and again is
left awake for longer each time.

Next: ``sleep.py``, what happens in between.
"""

from __future__ import annotations

import _socket
import os
import sys

from ..quickjson import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from .supervise import Shim

#: A detached shim that nobody watches sheds what it was forked with after this long.
FIRST_IDLE_S = 1.0
_LONGEST_IDLE_S = 16.0
_CODE = "import sys;sys.path.insert(0,sys.argv[1]);from minirun.shim.sleep import sleep;sleep()"


def shed(shim: Shim) -> None:
    """Replace this process image by a sleeping shim; returns only if that is impossible."""
    from ..decode import encode
    from ..record import replace

    assert shim.running is not None and shim.listener is not None  # noqa: PT018
    assert shim.streams is not None
    ends, prober = shim.streams.ends, shim.prober
    facts = {
        "place": encode(shim.place),
        "running": encode(replace(shim.running, ends=ends)),
        "pidfd": shim.pidfd,
        "listener": shim.listener.fileno(),
        "started": shim.started,
        "restarts": shim.restarts,
        "delay_ms": shim.delay_ms,
        "idle_s": min(shim.idle_s * 2, _LONGEST_IDLE_S),
        "probe_due_ns": prober.due_ns if prober else 0,
    }
    watched = (*shim.streams.readable, shim.pidfd, shim.listener.fileno())
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    due = prober.due_ns / 1e9 if prober else 0
    words = [package, ",".join(map(str, watched)), str(due), dumps(facts)]
    held = (*ends.all(), shim.pidfd, shim.listener.fileno())
    for fd in held:
        os.set_inheritable(fd, True)
    if shim.standby is not None:
        shim.standby.dismiss()
    try:
        # -I and -S: no site, no environment. What was ignored stays ignored, see signal(7).
        os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", _CODE, *words], {})
    except OSError:  # the interpreter was upgraded, or there is no memory: stay as we are
        shim.idle_s = float("inf")
        shim.standby = None
        for fd in held:
            os.set_inheritable(fd, False)


def wake(text: str, standby_pid: int, standby_pidfd: int) -> NoReturn:
    """Be a shim again; the standby of our sleep stays."""
    from .standby import Standby

    shim = _revive(text)
    shim.standby = Standby.adopt(shim, standby_pid, standby_pidfd)
    try:
        shim.loop()
    finally:
        os._exit(0)


def take_over(text: str) -> NoReturn:
    """Be the shim: the one that slept was killed."""
    from .standby import succeed

    succeed(_revive(text))


def _revive(text: str) -> Shim:
    """Return the shim that ``shed`` described."""
    from ..decode import decode
    from .birth import become_shim
    from .place import Place, Running
    from .supervise import Shim

    facts = loads(text)
    become_shim()
    shim = Shim(decode(Place, facts["place"]), -1)
    shim.started, shim.idle_s = facts["started"], facts["idle_s"]
    shim.restarts, shim.delay_ms = facts["restarts"], facts["delay_ms"]
    running, pidfd = decode(Running, facts["running"]), facts["pidfd"]
    for fd in (*running.ends.all(), pidfd, facts["listener"]):
        os.set_inheritable(fd, False)
    listener = _socket.socket(fileno=facts["listener"])
    shim.resume(running, pidfd, listener, facts["probe_due_ns"])
    return shim
