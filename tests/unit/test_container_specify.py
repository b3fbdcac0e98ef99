"""Options and image configuration as a Spec: docker's defaults, and what each flag changes."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from minirun import capabilities
from minirun.container import command, devices, init, limits, specify
from minirun.container.options import RunOptions
from minirun.container.readflags import Surroundings, from_flags
from minirun.container.specify import Facts, to_spec
from minirun.container.users import resolve
from minirun.decode import decode, encode
from minirun.errors import UsageError
from minirun.host import Host
from minirun.image.model import ContainerConfig, Healthcheck, Presence
from minirun.record import replace
from minirun.spec import Device, IdMapping, Seccomp, Spec
from minirun.validate import validate

ID = "ab12" * 16
IMAGE = ContainerConfig(entrypoint=("/entry",), cmd=("serve",), env=("PATH=/bin", "A=image"))
FACTS = Facts(ID, ID[:12], "/rootfs", seccomp=Seccomp("SCMP_ACT_ERRNO"))
NAMESPACES = {"mount", "pid", "ipc", "uts", "cgroup", "network"}


def options(*args: str, **flags: object) -> RunOptions:
    return from_flags(flags, args, Surroundings({}, "/"))


def spec(*args: str, facts: Facts = FACTS, **flags: object) -> Spec:
    found = to_spec(options(*args, **flags), IMAGE, facts)
    validate(found, Host())
    return found


def mounts(found: Spec) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {m.destination: (m.type, m.options) for m in found.mounts}


def test_default_container_is_dockers() -> None:
    found = spec()
    assert found.process is not None
    assert found.process.args == ("/entry", "serve")
    assert found.process.env == ("PATH=/bin", f"HOSTNAME={ID[:12]}", "A=image", "HOME=/")
    assert found.process.cwd == "/"
    assert found.process.capabilities is not None
    assert found.process.capabilities.bounding == capabilities.select()
    assert found.process.capabilities.inheritable == ()
    assert {n.type for n in found.linux.namespaces} == NAMESPACES
    assert found.linux.masked_paths == specify.MASKED_PATHS
    assert found.linux.readonly_paths == specify.READONLY_PATHS
    assert found.linux.cgroups_path == f"minirun/{ID}"
    assert found.linux.seccomp is not None
    assert found.annotations == {"io.minirun.id": ID}


def test_default_mounts_are_dockers_parents_first() -> None:
    found = mounts(spec())
    order = list(found)
    assert set(found) == {
        *("/proc", "/dev", "/sys", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys/fs/cgroup"),
    }
    assert order.index("/dev") < order.index("/dev/shm")
    assert "ro" in found["/sys"][1]
    assert "ro" in found["/sys/fs/cgroup"][1]
    assert "size=67108864" in found["/dev/shm"][1]


def test_default_devices_are_denied_but_for_dockers_list() -> None:
    rules = limits.resources(RunOptions()).devices or ()
    assert not rules[0].allow
    allowed = {(r.type, r.major, r.minor) for r in rules if "r" in r.access and r.allow}
    assert allowed == {
        *(("c", 1, n) for n in (3, 5, 7, 8, 9)),
        *(("c", 5, n) for n in (0, 1, 2)),
        ("c", 136, None),
    }


def test_spec_survives_json() -> None:
    found = spec(memory="64m", cpus="1.5", tty=True, ulimit=("nofile=1:2",))
    assert decode(Spec, json.loads(json.dumps(encode(found)))) == found


def test_privileged_is_everything() -> None:
    found = spec(privileged=True)
    assert found.process is not None
    assert found.process.capabilities is not None
    assert set(found.process.capabilities.effective) == set(capabilities.CAPABILITIES)
    assert found.linux.seccomp is None
    assert found.linux.masked_paths == found.linux.readonly_paths == ()
    assert found.linux.resources is not None
    assert found.linux.resources.devices == (limits.EVERYTHING,)
    assert "ro" not in mounts(found)["/sys"][1]
    assert "ro" not in mounts(found)["/sys/fs/cgroup"][1]


def test_another_user_holds_no_capability_but_may_regain_some() -> None:
    found = spec(facts=replace(FACTS, identity=resolve("1000")))
    assert found.process is not None
    assert found.process.capabilities is not None
    assert found.process.capabilities.effective == found.process.capabilities.permitted == ()
    assert found.process.capabilities.bounding == capabilities.select()


@pytest.mark.parametrize(
    ("flags", "args", "expected"),
    [
        ({}, (), ("/entry", "serve")),
        ({}, ("a", "b"), ("/entry", "a", "b")),
        ({"entrypoint": "/other"}, (), ("/other",)),
        ({"entrypoint": "/other"}, ("x",), ("/other", "x")),
        ({"entrypoint": ""}, ("x",), ("x",)),
    ],
)
def test_arguments_merge_as_in_docker(
    flags: dict[str, object], args: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert command.arguments(options(*args, **flags), IMAGE) == expected


def test_arguments_refuses_nothing() -> None:
    with pytest.raises(UsageError, match="no command specified"):
        command.arguments(options(entrypoint=""), IMAGE)


def test_environment_lets_the_user_win_and_remove() -> None:
    found = command.environment(options(env=("A=mine", "PATH", "HOME=/h")), IMAGE, "h", "/root")
    assert found == ("HOSTNAME=h", "A=mine", "HOME=/h")


def test_terminal_gets_a_terminal_type() -> None:
    assert "TERM=xterm" in command.environment(options(tty=True), IMAGE, "h", "/")


@pytest.mark.parametrize(
    ("test", "args"),
    [
        ((), None),
        (("NONE",), None),
        (("CMD", "a", "b"), ("a", "b")),
        (("CMD-SHELL", "a | b"), ("/bin/sh", "-c", "a | b")),
    ],
)
def test_health_check_reads_the_images(test: tuple[str, ...], args: tuple[str, ...] | None) -> None:
    image = ContainerConfig(healthcheck=Healthcheck(test=test, interval=7, retries=9))
    found = command.health_check(options(health_timeout="2s"), image)
    assert (found and found.args) == args
    if found:
        assert (found.interval_ns, found.timeout_ns, found.retries) == (7, 2 * 10**9, 9)
    assert command.health_check(options(no_healthcheck=True), image) is None


def test_health_check_refuses_a_malformed_image() -> None:
    image = ContainerConfig(healthcheck=Healthcheck(test=("WHAT", "x")))
    with pytest.raises(UsageError, match="malformed"):
        command.health_check(RunOptions(), image)


@pytest.mark.parametrize("kind", ["pid", "ipc", "uts", "cgroupns", "network"])
def test_host_mode_is_the_absence_of_a_namespace(kind: str) -> None:
    found = to_spec(options(**{kind: "host"}), IMAGE, FACTS)
    absent = {"cgroupns": "cgroup"}.get(kind, kind)
    assert {n.type for n in found.linux.namespaces} == NAMESPACES - {absent}


def test_host_network_has_no_sysctls_of_its_own() -> None:
    assert "net.ipv4.ip_unprivileged_port_start" in spec().linux.sysctl
    assert spec(network="host").linux.sysctl == {}


def test_joined_namespaces_have_a_path() -> None:
    found = spec(pid="container:db", facts=replace(FACTS, joins={"pid": "/proc/7/ns/pid"}))
    entry = found.namespace("pid")
    assert entry is not None
    assert entry.path == "/proc/7/ns/pid"


def test_user_namespace_comes_with_its_mappings() -> None:
    mapping = (IdMapping(0, 100000, 65536),)
    found = spec(facts=replace(FACTS, uid_mappings=mapping, gid_mappings=mapping))
    assert found.namespace("user") is not None
    assert "net.ipv4.ping_group_range" not in found.linux.sysctl


def test_limits_are_translated() -> None:
    found = limits.resources(options(memory="64m", cpus="0.5", cpu_shares="512", pids_limit="0"))
    assert found.memory is not None
    assert (found.memory.limit, found.memory.swap) == (64 << 20, 128 << 20)
    assert found.cpu is not None
    assert (found.cpu.quota, found.cpu.period, found.cpu.shares) == (50_000, 100_000, 512)
    assert found.pids is None
    assert limits.resources(RunOptions()).memory is None


def test_swap_of_minus_one_is_unlimited() -> None:
    found = limits.resources(options(memory="64m", memory_swap="-1"))
    assert found.memory is not None
    assert found.memory.swap == -1


def test_block_io_limits_take_the_devices_numbers() -> None:
    asked = options(device_read_bps=("/dev/sda:1m",), blkio_weight_device=("/dev/sdb:200",))
    assert limits.limited_devices(asked.resources) == ("/dev/sdb", "/dev/sda")
    found = limits.resources(asked, (), {"/dev/sda": (8, 0), "/dev/sdb": (8, 16)}).block_io
    assert found is not None
    assert (found.throttle_read_bps_device[0].rate, found.weight_device[0].weight) == (1 << 20, 200)


def test_device_is_made_and_allowed_as_asked() -> None:
    asked = options(device=("/dev/null:/dev/nothing:r",))
    node = devices.node(asked.devices[0])
    found = to_spec(asked, IMAGE, replace(FACTS, devices=(node,)))
    assert found.linux.devices == (node,)
    assert found.linux.resources is not None
    rules = found.linux.resources.devices or ()
    assert (rules[-1].major, rules[-1].minor, rules[-1].access) == (1, 3, "r")


def test_every_kind_of_mount_is_translated() -> None:
    flags = {
        "volume": ("/a:/a:ro,rslave", "db:/db"),
        "tmpfs": ("/t:size=1m,exec",),
        "mount": ("type=bind,src=/b,dst=/b,ro,bind-recursive=readonly",),
    }
    found = mounts(spec(facts=replace(FACTS, volumes={"/db": "/vol/db", "/anon": "/v/x"}), **flags))
    assert found["/a"] == ("bind", ("rbind", "rslave", "ro"))
    assert found["/db"] == ("bind", ("rbind", "rprivate"))
    assert found["/anon"] == ("bind", ("rbind", "rprivate"))
    assert found["/t"] == ("tmpfs", ("nosuid", "noexec", "nodev", "size=1048576", "exec"))
    assert found["/b"] == ("bind", ("rbind", "rprivate", "rro"))
    assert spec(volume=("/a:/a:rslave",)).linux.rootfs_propagation == "slave"


def test_request_at_a_default_mount_replaces_it() -> None:
    assert mounts(spec(tmpfs=("/dev/shm:size=1g",)))["/dev/shm"][1][-1] == f"size={1 << 30}"


def test_ipc_modes() -> None:
    assert "/dev/shm" not in mounts(spec(ipc="none"))
    assert mounts(spec(ipc="host"))["/dev/shm"][0] == "bind"


def test_etc_files_are_mounted() -> None:
    found = spec(facts=replace(FACTS, etc_files={"/etc/hosts": "/x/hosts"}))
    assert mounts(found)["/etc/hosts"] == ("bind", ("rbind", "rprivate"))


def test_init_wraps_the_command() -> None:
    found = spec("true", init=True, facts=replace(FACTS, init="/usr/bin/tini-static"))
    assert found.process is not None
    assert found.process.args == ("/sbin/docker-init", "--", "/entry", "true")
    assert "ro" in mounts(found)["/sbin/docker-init"][1]


@pytest.mark.parametrize(("kind", "static"), [(1, True), (3, False)])
def test_init_must_be_static(tmp_path: Path, kind: int, static: bool) -> None:
    """An ELF of one program header: PT_LOAD, or PT_INTERP that asks for a dynamic linker."""
    header = b"\x7fELF\x02\x01".ljust(32, b"\0") + struct.pack("<QQIHHH", 64, 0, 0, 64, 56, 1)
    program = tmp_path / "init"
    program.write_bytes(header.ljust(64, b"\0") + struct.pack("<I", kind).ljust(56, b"\0"))
    assert init.is_static(str(program)) is static


@pytest.mark.parametrize("path", ["/etc/passwd", "/nonexistent", "/dev/null"])
def test_init_must_be_a_program(path: str) -> None:
    assert not init.is_static(path)


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ({}, ID[:12]),
        ({"hostname": "web"}, "web"),
        ({"uts": "host"}, "me"),
        ({"network": "host"}, "me"),
    ],
)
def test_hostname_for(flags: dict[str, object], name: str) -> None:
    assert specify.hostname_for(options(**flags), ID, "me") == name


def test_anonymous_volumes_are_those_that_nothing_covers() -> None:
    image = ContainerConfig(volumes={"/data/": Presence(), "/a": Presence()})
    assert specify.anonymous_volumes(options(volume=("/x:/a",)), image) == ("/data",)


def test_workdir_of_the_user_wins() -> None:
    image = ContainerConfig(working_dir="/app/")
    assert command.working_directory(RunOptions(), image) == "/app"
    assert command.working_directory(options(workdir="/w"), image) == "/w"
    with pytest.raises(UsageError, match="WORKDIR"):
        command.working_directory(RunOptions(), ContainerConfig(working_dir="rel"))


def test_unknown_capability_is_refused() -> None:
    with pytest.raises(UsageError, match="NOPE"):
        spec(cap_add=("NOPE",))


def test_device_record_is_a_specs() -> None:
    assert isinstance(devices.node(devices.device("/dev/zero")), Device)
