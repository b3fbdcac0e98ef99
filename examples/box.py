"""What rung 12 needs around its plan: an image to start from, and somebody to start it.

`minirun/creation.py` and `minirun/lifecycle.py` do this for real, with a state that survives them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

from stage import become_root, private_tmp

from minirun import kernel, runner
from minirun.cgroups import open_driver, v1, v2
from minirun.errors import MinirunError
from minirun.flags import Clone
from minirun.host import probe
from minirun.plan import Plan
from minirun.steps.base import Context, Step

#: Imported before /tmp is private: this checkout may lie in it, and be out of sight from then on.
LATE = v1, v2
#: Whatever a plan with a step left out does to these, it does not do it to the machine.
COPIES = Clone.CLONE_NEWUTS | Clone.CLONE_NEWIPC | Clone.CLONE_NEWNET


def prepare(programs: str, places: str, root: str) -> None:
    """Make two layers, an image of busybox and places to mount on, in a /tmp that only we see."""
    if os.getuid() != 0:
        become_root()
    kernel.unshare(COPIES)
    private_tmp()
    for directory in (f"{programs}/bin", f"{places}/proc", root):
        os.makedirs(directory)
    shutil.copy(shutil.which("busybox") or sys.exit("no busybox in PATH"), f"{programs}/bin")
    for name in ("grep", "hostname", "ls", "ps", "sh"):
        os.symlink("busybox", f"{programs}/bin/{name}")


def explained() -> list[str]:
    """Return the ids of the steps that `minirun run` would take, as minirun itself tells them."""
    minirun = [sys.executable, "-c", "from minirun.cli import main; main()"]
    explain = [*minirun, *"explain --format json --security-opt no-new-privileges /".split()]
    return [step["id"] for step in json.loads(subprocess.check_output(explain))["steps"]]


def run(steps: tuple[Step, ...], cgroup: str) -> int:
    """Make the steps a plan, do what it says, say start, wait; return the program's exit code."""
    host = probe()
    manager = "disabled" if host.in_user_namespace else "cgroupfs"
    context = Context("example", "/", "/tmp")
    context.cgroup = open_driver(host, cgroup, manager=manager)
    context.save_state = lambda status: None  # nobody will ask for it
    start, result = os.pipe(), os.pipe()
    context.fds = {"start": start[0], "result": result[1]}
    try:
        runner.create(Plan(steps), context)
        os.write(start[1], b"s")
        os.close(result[1])
        if report := os.read(result[0], 65536):  # empty once execve has closed the other end
            raise runner.revive_late(report)
    except MinirunError as error:
        sys.exit(f"{error}\nhint: {error.hint or 'put the step back'}")
    finally:
        if context.init_pid:
            code = os.waitstatus_to_exitcode(os.waitpid(context.init_pid, 0)[1])
        for undo in reversed(context.undo):
            undo()
    return code
