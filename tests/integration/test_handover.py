"""What a start hands over: interfaces to the container, the seccomp listener to an agent."""

from __future__ import annotations

import array
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from minirun.host import probe
from minirun.lifecycle import Container, Request
from minirun.record import replace
from minirun.spec import (
    Linux,
    Mount,
    Namespace,
    NetDevice,
    Process,
    Root,
    Seccomp,
    Spec,
    SyscallRule,
)

pytestmark = [pytest.mark.requires("root", "busybox", "net_admin")]

KINDS = ("mount", "pid", "ipc", "uts", "network")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Return a bundle with busybox in it."""
    rootfs = tmp_path / "rootfs"
    for name in ("bin", "proc", "dev"):
        (rootfs / name).mkdir(parents=True)
    (rootfs / "bin/busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (rootfs / "bin/busybox").chmod(0o755)
    return tmp_path


def _spec(script: str, linux: Linux, *, nnp: bool = False) -> Spec:
    args = ("/bin/busybox", "sh", "-c", script)
    return Spec(
        "1.3.0",
        Root("rootfs"),
        process=Process("/", args, no_new_privileges=nnp),
        mounts=(Mount("/proc", "proc", "proc"),),
        linux=replace(linux, namespaces=tuple(map(Namespace, KINDS))),
    )


def _output(state_root: Path, bundle: Path, spec: Spec) -> tuple[str, int]:
    """Run a container to its end; return what it said and its exit code."""
    container = Container(str(state_root), "handed", probe())
    read, write = os.pipe()
    null = os.open("/dev/null", os.O_RDONLY)
    try:
        container.create(spec, Request("handed", str(bundle), stdio=(null, write, write)))
        os.close(write)
        pid = container.state().pid
        container.start()
        with os.fdopen(read) as said:
            text = said.read()
        return text, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(null)
        container.delete(force=True)


@pytest.fixture
def card() -> Iterator[str]:
    """Make an interface that can be given away; a virtual one goes with the namespace."""
    name = "mr-card0"
    pair = ["type", "veth", "peer", "name", "mr-card1"]
    subprocess.run(["ip", "link", "add", name, *pair], check=True)
    for address in ("10.231.0.7/24", "10.231.0.8/24", "fd00:231::7/64"):
        subprocess.run(["ip", "addr", "add", address, "dev", name], check=True)
    passing = ("10.231.9.9/24", "valid_lft", "600", "preferred_lft", "600")
    subprocess.run(["ip", "addr", "add", *passing, "dev", name], check=True)
    yield name
    subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)


def test_net_device_arrives_with_its_lasting_addresses(
    state_root: Path, bundle: Path, card: str
) -> None:
    linux = Linux(net_devices={card: NetDevice("fast0")})
    said, code = _output(state_root, bundle, _spec("/bin/busybox ip addr show fast0", linux))
    assert code == 0
    assert {"10.231.0.7/24", "10.231.0.8/24", "fd00:231::7/64"} <= set(said.split())
    assert "10.231.9.9/24" not in said
    assert ",UP" in said
    assert not Path(f"/sys/class/net/{card}").exists()


def test_net_device_that_does_not_exist_is_named(state_root: Path, bundle: Path) -> None:
    linux = Linux(net_devices={"mr-none0": NetDevice()})
    with pytest.raises(Exception, match="mr-none0"):
        _output(state_root, bundle, _spec("true", linux))


@pytest.mark.requires("seccomp")
@pytest.mark.parametrize("nnp", [False, True])
def test_seccomp_listener_reaches_its_agent(state_root: Path, bundle: Path, nnp: bool) -> None:
    path = str(bundle / "agent.sock")
    rules = (SyscallRule(("mkdir", "mkdirat"), "SCMP_ACT_NOTIFY"),)
    linux = Linux(
        seccomp=Seccomp(
            "SCMP_ACT_ALLOW", listener_path=path, listener_metadata="who", syscalls=rules
        )
    )
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(path)
        agent.listen()
        agent.settimeout(20)
        _, code = _output(state_root, bundle, _spec("true", linux, nnp=nnp))
        with agent.accept()[0] as link:
            data, ancillary, _, _ = link.recvmsg(65536, socket.CMSG_SPACE(4))
    state = json.loads(data)
    fds = array.array("i", ancillary[0][2])
    target = os.readlink(f"/proc/self/fd/{fds[0]}")
    os.close(fds[0])
    assert code == 0
    assert "seccomp" in target
    assert state["fds"] == ["seccompFd"]
    assert state["metadata"] == "who"
    assert state["state"]["id"] == "handed"
    assert state["pid"] == state["state"]["pid"] > 0
