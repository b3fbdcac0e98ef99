"""08 Limits: how much, where namespaces say what.

Idea: a control group is a directory. Its files are the limits, writing a pid into it moves the
    process in, and children are born where their parent is. Version 1 has one tree of directories
    per resource, version 2 a single one; the file names differ, the idea does not.
Run: sudo python examples/08_cgroup.py
Look: which file takes which limit here; a process that is killed for its 65th megabyte; a fork
    that is refused with EAGAIN, before a fork bomb is one.
Break it: move driver.apply below the hog: nobody objects. So: first the limits, then the process.
Real world: minirun/cgroups, minirun/steps/limits.py; runc: libcontainer/cgroups
man: cgroups(7); the kernel's Documentation/admin-guide/cgroup-v2.rst
"""

from __future__ import annotations

import os
import sys

from stage import in_child

from minirun.cgroups import open_driver
from minirun.cgroups.resources import writes
from minirun.host import probe
from minirun.spec_resources import Memory, Pids, Resources

MEGABYTE = 1 << 20


def hog() -> None:
    """Take memory until somebody objects."""
    driver.join()
    taken = [bytearray(MEGABYTE) for _ in range(256)]  # zeroed, so every page is really touched
    print(f"nobody objected to {len(taken)} MB")


def multiply() -> None:
    """Fork until the kernel refuses; the children wait for our end of the pipe to close."""
    driver.join()
    ours, theirs = os.pipe()
    try:
        while os.fork():
            pass
        os.close(theirs)
        os.read(ours, 1)
    except BlockingIOError as error:
        print(f"with {len(driver.pids())} processes inside: {error.strerror}")


if os.geteuid() != 0:
    sys.exit("08 needs root: run it with sudo")
host = probe()
limits = Resources(memory=Memory(limit=64 * MEGABYTE), pids=Pids(limit=16))
for line in writes(limits, host):
    print(f"{line.file} = {line.text}")
# expect: memory.… = 67108864
# expect: pids.max = 16

driver = open_driver(host, f"minirun/example-{os.getpid()}")
driver.create()
try:
    driver.apply(limits)
    print(f"the hog ended with {in_child(hog)}, which is SIGKILL")
    # expect: the hog ended with -9, which is SIGKILL
    print(f"killed for want of memory: {driver.oom_kills()}")
    # expect: killed for want of memory: 1
    in_child(multiply)
    # expect: with 16 processes inside: Resource temporarily unavailable
finally:
    driver.kill()
    driver.delete()
