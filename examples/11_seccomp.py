"""11 Fewer system calls: a filter of nine instructions.

Idea: before each system call the kernel runs a small BPF program that this process has loaded. It
    sees architecture, number and arguments, and returns a verdict: allow, fail with an errno, kill.
    Nothing takes it off again, execve neither.
Run: python examples/11_seccomp.py
Look: an errno can be handled, a kill cannot. TSYNC filters threads that are there already, too.
Break it: write KILL for ALLOW: an allow-list that lacks what comes next, as one without execve.
Real world: minirun/seccomp/bpf.py, minirun/steps/filters.py; runc: libcontainer/seccomp
man: seccomp(2), with a longer filter as its example; bpf(4)
"""

from __future__ import annotations

import os
import struct
import threading

from stage import in_child

from minirun import kernel
from minirun.flags import PR_SET_NO_NEW_PRIVS, SeccompFlag

NUMBERS = {"x86_64": (0xC000003E, 63, 110), "aarch64": (0xC00000B7, 160, 173)}
ARCH, UNAME, GETPPID = NUMBERS[os.uname().machine]
LOAD, JUMP_EQ, JUMP_GE, RETURN = 0x20, 0x15, 0x35, 0x06
ALLOW, EPERM, KILL = 0x7FFF0000, 0x00050001, 0x80000000

FILTER = (  # code, skip if true, skip if false, operand
    (LOAD, 0, 0, 4),  # the architecture
    (JUMP_EQ, 0, 6, ARCH),  # another one: numbers mean something else, so kill
    (LOAD, 0, 0, 0),  # the number of the call
    (JUMP_GE, 4, 0, 0x40000000),  # x32, a second set of numbers on x86_64: kill
    (JUMP_EQ, 2, 0, UNAME),
    (JUMP_EQ, 2, 0, GETPPID),
    (RETURN, 0, 0, ALLOW),
    (RETURN, 0, 0, EPERM),
    (RETURN, 0, 0, KILL),
)


def filtered() -> None:
    """Load the filter, and try what it says."""
    loaded = threading.Event()
    thread = threading.Thread(target=ask, args=("thread", loaded))
    thread.start()
    kernel.prctl(PR_SET_NO_NEW_PRIVS, 1)  # or a set-uid program could be confused by our filter
    program = b"".join(struct.pack("=HBBI", *line) for line in FILTER)
    kernel.seccomp_set_mode_filter(program, SeccompFlag.SECCOMP_FILTER_FLAG_TSYNC)
    loaded.set()
    thread.join()
    # expect: thread: uname: Operation not permitted
    ask("main", loaded)
    # expect: main: uname: Operation not permitted
    print("and now getppid", flush=True)
    # expect: and now getppid
    os.getppid()


def ask(who: str, loaded: threading.Event) -> None:
    """Make a call that never fails, as soon as the filter is there."""
    loaded.wait()
    try:
        print(f"{who}: uname: {os.uname().sysname}", flush=True)
    except OSError as error:
        print(f"{who}: uname: {error.strerror}", flush=True)


print(f"ended with {in_child(filtered)}, which is SIGSYS")
# expect: ended with -31, which is SIGSYS
