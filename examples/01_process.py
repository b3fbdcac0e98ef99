"""01 A process: before anything is contained.

Idea: a container is a process, so begin with one. fork(2) makes a second process that is a copy of
    the first; execve(2) turns a process into another program and keeps everything else: its pid,
    its open files and, above all, its namespaces. wait(2) tells the parent how the child ended.
Run: python examples/01_process.py
Look: /proc/PID/ns holds one link for each kernel view that a process has; the number names the
    namespace. Parent, child and program share theirs. Remember this picture: from rung 02 on, one
    number after the other changes.
Break it: python examples/01_process.py /no/such/program
    execve fails, so the child is still this script and must end itself: with 127, as in a shell.
Real world: minirun/steps/handoff.py (Execve), minirun/executable.py; runc: standard_init_linux.go
man: fork(2), execve(2), wait(2), namespaces(7)
"""

from __future__ import annotations

import os
import sys

from minirun import kernel
from minirun.errors import SyscallError

KINDS = ("mnt", "net", "pid", "user", "uts")


def picture() -> list[str]:
    """Return which namespaces this process is in."""
    return [os.readlink(f"/proc/self/ns/{kind}") for kind in KINDS]


def run(program: str, *args: str) -> int:
    """Run a program as a shell does, and return its exit code."""
    sys.stdout.flush()
    pid = os.fork()  # called once, returns twice: 0 in the child, the child's pid in the parent
    if pid == 0:
        become(program, *args)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def become(program: str, *args: str) -> None:
    """Be replaced by a program; whatever stands after a successful execve is never reached."""
    try:
        kernel.execve_later(program, (program, *args), ())()
    except SyscallError as error:
        print(error, flush=True)
        os._exit(127)


before = picture()
for link in before:
    print(link)
# expect: mnt:[…]
# expect: net:[…]
# expect: pid:[…]
# expect: user:[…]
# expect: uts:[…]

program = sys.argv[1] if len(sys.argv) > 1 else "/bin/sh"
code = run(program, "-c", "readlink /proc/self/ns/uts; exit 3")
# expect: uts:[…]
print(f"the program ended with {code}; we are still where we were: {picture() == before}")
# expect: the program ended with 3; we are still where we were: True
