"""12 A container: everything so far, in order.

Idea: no system call makes a container. It is a process after these steps; beside each, its rung.
Run: python examples/12_container.py
Look: one tuple is all. The assertion asks minirun: it takes these steps, in this order, and more.
Break it: python examples/12_container.py sethostname      (or "mount /proc", identity)
    leaves a step out. Read `without` in minirun explain; predict, run, compare.
Real world: minirun/plan.py (plan_create), minirun/runner.py; runc: libcontainer/process_linux.go
man: namespaces(7), cgroups(7), pivot_root(2), capabilities(7), seccomp(2)
"""

from __future__ import annotations

import os
import sys

import box

from minirun.capabilities import DEFAULT, mask
from minirun.flags import Clone
from minirun.mount_options import MountOptions
from minirun.seccomp import bpf
from minirun.spec import User
from minirun.steps import filters, handoff, identity, limits, mounts, namespaces, overlay, rootfs

SCRIPT = "hostname; ls /; ps -o pid,comm; grep -E 'CapEff|Seccomp:' /proc/self/status"
REST = Clone.CLONE_NEWNS | Clone.CLONE_NEWUTS | Clone.CLONE_NEWIPC | Clone.CLONE_NEWNET
SETS = identity.CapabilityMasks(mask(DEFAULT), mask(DEFAULT), 0, mask(DEFAULT))
GROUP = f"minirun/example-{os.getpid()}"
AS_ROOT = handoff.ForkInitDirectly(Clone.CLONE_NEWPID), limits.JoinCgroupAsInit()
CHILD = handoff.ForkIntermediate(), limits.JoinCgroup(), namespaces.UnsharePid(Clone.CLONE_NEWPID)
AS_USER = *CHILD, handoff.ForkInit()  # who is root only inside could not take his own back
STEPS = (
    limits.CreateCgroup(GROUP),  # 08, where we may
    *(AS_USER if os.getuid() else AS_ROOT),  # 01, 04, 08
    namespaces.UnshareRest(REST),  # 02, 05, 09
    namespaces.MakeMountsPrivate(),  # 05
    overlay.MountOverlay(overlay.Overlay(("/tmp/programs", "/tmp/places")), "/tmp/box"),  # 07
    rootfs.BindRootfs("/tmp/box"),  # 06
    rootfs.OpenRootfs("/tmp/box"),
    mounts.MountFilesystem("proc", "proc", "/proc", MountOptions()),  # 05
    rootfs.PivotRoot(),  # 06
    namespaces.SetHostname("box"),  # 02
    identity.NoNewPrivileges(),  # 10
    identity.SetIdentity(User(), SETS, 40, setgroups=False),  # 10
    handoff.FindExecutable("sh", "/bin"),
    handoff.SaveState(),
    handoff.WaitForStart(),
    handoff.CloseFds(),
    handoff.PrepareExecve(("sh", "-c", SCRIPT), ("PATH=/bin",)),
    filters.LoadSeccomp(bpf.give(0x7FFF0000)),  # 11, with the shortest program: allow
    handoff.Execve(),  # 01
)

told = box.explained()
theirs = iter(told)
assert all(step.id in theirs for step in STEPS), "minirun has another order"
print(f"{len(STEPS)} of minirun's {len(told)} steps, in its order", flush=True)
# expect: … of minirun's … steps, in its order

box.prepare("/tmp/programs", "/tmp/places", "/tmp/box")  # in a user namespace, 03
box.run(tuple(step for step in STEPS if step.title not in sys.argv[1:]), GROUP)
# expect: box
# expect: bin
# expect: proc
# expect: PID   COMMAND
# expect:     1 sh
# expect:     … ps
# expect: CapEff:	00000000a80425fb
# expect: Seccomp:	2
