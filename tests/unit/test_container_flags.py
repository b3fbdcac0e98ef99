"""The parsers of the command line: docker's grammar, and never another error than ours."""

from __future__ import annotations

import contextlib
import doctest
import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import minirun.container
import minirun.validate
from minirun.container import (
    devices,
    environment,
    mounts,
    names,
    security,
    sizes,
    users,
    words,
)
from minirun.container.flagtable import REFUSED
from minirun.container.mounts import MountRequest
from minirun.container.options import ResourceOptions, RunOptions, Ulimit
from minirun.container.readflags import Surroundings, from_flags
from minirun.errors import MinirunError, NotFoundError, StateError, UsageError

HERE = Surroundings({"HOME": "/root", "EMPTY": ""}, "/home/me")


@pytest.mark.parametrize(
    "name",
    [
        module.name
        for package in (minirun.container, minirun.validate)
        for module in pkgutil.iter_modules(package.__path__, package.__name__ + ".")
    ],
)
def test_examples_in_docstrings_hold(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


# ---- sizes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("1", 1),
        ("1b", 1),
        ("1k", 1024),
        ("1K", 1024),
        ("1kb", 1024),
        ("1KiB", 1024),
        ("256m", 256 << 20),
        ("1.5g", 3 << 29),
        ("10 MiB", 10 << 20),
        ("2t", 2 << 40),
        ("1p", 1 << 50),
    ],
)
def test_byte_size_reads_dockers_grammar(text: str, count: int) -> None:
    assert sizes.byte_size(text) == count


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "m",
        "1mm",
        "1 ",
        " 1",
        "1  k",
        "1.",
        ".5m",
        "1.2.3",
        "0x1",
        "1e3",
        "٣",
        "1bb",
        "1ib",
        "9" * 30,
        "9" * 5000,
        "1_000",
        "+1",
        "1m\n",
        "²",
    ],
)
def test_byte_size_refuses(text: str) -> None:
    with pytest.raises(UsageError, match="size"):
        sizes.byte_size(text)


def test_memory_limit_has_dockers_floor() -> None:
    assert sizes.memory_limit("6m") == 6 << 20
    assert sizes.memory_limit("0") == 0
    with pytest.raises(UsageError, match="too low") as caught:
        sizes.memory_limit("5m")
    assert "6m" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("1m30s", 90 * 10**9),
        ("1h", 3600 * 10**9),
        ("1.5h", 5400 * 10**9),
        (".5s", 5 * 10**8),
        ("300ms", 3 * 10**8),
        ("1us", 1000),
        ("1µs", 1000),
        ("7ns", 7),
    ],
)
def test_duration_reads_gos_grammar(text: str, nanoseconds: int) -> None:
    assert sizes.duration_ns(text) == nanoseconds


@pytest.mark.parametrize("text", ["", "1", "s", "1x", "1 s", "-1s", "1.2.3s", ".s", "9" * 19 + "h"])
def test_duration_refuses(text: str) -> None:
    with pytest.raises(UsageError, match="duration"):
        sizes.duration_ns(text)


@given(st.integers(0, 2**62))
def test_duration_round_trip(nanoseconds: int) -> None:
    assert sizes.duration_ns(sizes.format_duration(nanoseconds)) == nanoseconds


@given(st.integers(0, 2**52), st.sampled_from(["", "b", "k", "KB", "kib"]))
def test_size_scales_by_suffix(number: int, suffix: str) -> None:
    scale = 1024 if "k" in suffix.lower() else 1
    assert sizes.byte_size(f"{number}{suffix}") == number * scale


@pytest.mark.parametrize(
    ("text", "nano"), [("2", 2 * 10**9), ("0.1", 10**8), ("0", 0), (".01", 10**7)]
)
def test_cpus_are_exact(text: str, nano: int) -> None:
    assert sizes.cpus_nano(text) == nano


@pytest.mark.parametrize("text", ["", ".", "1.", "-1", "0.001", "1.0000000001", "one", "1e2"])
def test_cpus_refuses(text: str) -> None:
    with pytest.raises(UsageError):
        sizes.cpus_nano(text)


@given(st.sets(st.integers(0, 8191), min_size=1, max_size=20))
def test_cpu_list_round_trip(numbers: set[int]) -> None:
    assert sizes.cpu_numbers(",".join(map(str, numbers))) == tuple(sorted(numbers))


@pytest.mark.parametrize("text", [",", "1-", "-1", "3-1", "a", "0-99999999", "1,,2", "8192"])
def test_cpu_list_refuses(text: str) -> None:
    with pytest.raises(UsageError):
        sizes.cpu_list(text)


# ---- words --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("9", 9),
        ("KILL", 9),
        ("sigterm", 15),
        ("RTMIN", 34),
        ("SIGRTMIN+3", 37),
        ("RTMAX-1", 63),
        ("64", 64),
        ("POLL", 29),
        ("RTMIN+30", 64),
    ],
)
def test_signal_number(text: str, number: int) -> None:
    assert words.signal_number(text) == number


@pytest.mark.parametrize(
    "text", ["", "0", "65", "-9", "SIG", "NOPE", "RTMIN-1", "RTMIN+31", "RTMAX+1"]
)
def test_signal_number_refuses(text: str) -> None:
    with pytest.raises(UsageError, match="signal"):
        words.signal_number(text)


@given(st.integers(1, 31) | st.integers(34, 64))
def test_signal_round_trip(number: int) -> None:
    assert words.signal_number(words.signal_name(number)) == number


def test_signal_names_are_those_of_this_system() -> None:
    """An independent witness: the C library's own table."""
    import signal

    for name, number in words.SIGNALS.items():
        assert getattr(signal, f"SIG{name}") == number


def test_ulimit_of_minus_one_is_unlimited() -> None:
    assert words.ulimit("memlock=-1") == ("memlock", words.UNLIMITED, words.UNLIMITED)


@pytest.mark.parametrize(
    "text", ["nofile", "nofile=", "x=1", "nofile=2:1", "nofile=1:2:3", "=1", "nofile=a"]
)
def test_ulimit_refuses(text: str) -> None:
    with pytest.raises(UsageError):
        words.ulimit(text)


# ---- environment --------------------------------------------------------------------------------


def test_env_file_reads_dockers_grammar() -> None:
    content = b"\xef\xbb\xbf# comment\n\n  A=1 \r\nB=x=y\nHOME\nUNKNOWN\n"
    found = environment.env_file(content, "f", HERE.environ)
    assert found == ("A=1 ", "B=x=y", "HOME=/root", "UNKNOWN")


@pytest.mark.parametrize(
    "content", [b"=x", b"A B=1", b"\xff=1", b"A =1", b"A\0=1", b"x" * (2 << 20)]
)
def test_env_file_refuses_and_names_the_file(content: bytes) -> None:
    with pytest.raises(UsageError):
        environment.env_file(content, "settings.env", {})


def test_merge_lets_the_last_one_win_and_a_bare_name_remove() -> None:
    assert environment.merge(["A=1", "B=1"], ["B", "C="]) == ("A=1", "C=")


# ---- mounts and devices -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("/data", MountRequest("volume", "/data")),
        ("db:/data:nocopy", MountRequest("volume", "/data", "db", no_copy=True)),
        ("/a:/b", MountRequest("bind", "/b", "/a", create_source=True)),
        (
            "../x:/b:ro,rslave",
            MountRequest("bind", "/b", "/home/x", True, "rslave", create_source=True),
        ),
    ],
)
def test_volume_flag(text: str, request_: MountRequest) -> None:
    assert mounts.volume_flag(text, "/home/me") == request_


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a:b",
        "/",
        "x:/",
        "/a:/b:z",
        "/a:/b:nope",
        "/a:/b:ro,rw",
        "db:/d:rshared",
        "a:/b:c:d",
        "a b:/c",
        "x:/y",
        "/a:/b/../..",
        "/a::ro",
        "db:/a\x00",
    ],
)
def test_volume_flag_refuses(text: str) -> None:
    with pytest.raises(UsageError):
        mounts.volume_flag(text, "/home/me")


def test_mount_flag_understands_dockers_keys() -> None:
    text = "type=bind,src=/a,dst=/b,readonly,bind-propagation=rshared,bind-recursive=readonly"
    expected = MountRequest("bind", "/b", "/a", True, "rshared", "readonly")
    assert mounts.mount_flag(text, "/") == expected
    tmpfs = mounts.mount_flag("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1777", "/")
    assert tmpfs.tmpfs_options == ("size=1048576", "mode=1777")
    volume = mounts.mount_flag("source=db,target=/d,volume-label=a=b,volume-subpath=x/y", "/")
    assert (volume.labels, volume.subpath) == ({"a": "b"}, "x/y")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "type=nfs,target=/a",
        "type=bind,target=/a",
        "type=bind,source=a,target=/b",
        "source=db",
        "type=tmpfs,source=x,target=/a",
        "type=bind,source=/a,target=/b,volume-nocopy",
        "target=/a,volume-driver=nfs",
        "target=/a,target=/b",
        "target=/a,bogus=1",
        "target=/a,readonly=x",
        "target=/a,volume-subpath=../x",
        "type=tmpfs,target=/a,tmpfs-mode=9",
    ],
)
def test_mount_flag_refuses(text: str) -> None:
    with pytest.raises(UsageError):
        mounts.mount_flag(text, "/")


@pytest.mark.parametrize(
    "text", ["", "dev/null", "/dev/a:/b:/c", "/dev/a:/b:rx", "/dev/a:rr", "v.com/gpu=0"]
)
def test_device_refuses(text: str) -> None:
    with pytest.raises(UsageError):
        devices.device(text)


def test_node_looks_the_device_up() -> None:
    found = devices.node(devices.device("/dev/null:/dev/nothing:r"))
    assert (found.type, found.path, found.major, found.minor) == ("c", "/dev/nothing", 1, 3)


def test_node_refuses_what_is_no_device() -> None:
    with pytest.raises(MinirunError, match="not a device"):
        devices.node(devices.device("/proc"))


# ---- security, names, users ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "no-new-privileges=maybe",
        "seccomp",
        "seccomp=",
        "label=type:x",
        "bogus",
        "systempaths=x",
        "",
    ],
)
def test_security_options_refuses(text: str) -> None:
    with pytest.raises(UsageError):
        security.security_options([text])


def test_security_options_understands_the_older_colon() -> None:
    found = security.security_options(["no-new-privileges:false", "seccomp:/a=b.json"])
    assert found == security.SecurityOptions(seccomp="/a=b.json")


@pytest.mark.parametrize(
    "text", ["always:3", "on-failure:-1", "on-failure:x", "sometimes", "on-failure:"]
)
def test_restart_policy_refuses(text: str) -> None:
    with pytest.raises(UsageError):
        security.restart_policy(text)


@pytest.mark.parametrize(
    ("kind", "text"),
    [("pid", "container:"), ("uts", "container:x"), ("ipc", "bogus"), ("userns", "bogus")],
)
def test_namespace_mode_refuses(kind: str, text: str) -> None:
    with pytest.raises(UsageError):
        security.namespace_mode(kind, text)


@pytest.mark.parametrize("name", ["a", "", "_a", "-ab", "a b", "a/b", "é1", "a" * 200, "0" * 64])
def test_container_name_refuses(name: str) -> None:
    with pytest.raises(UsageError):
        names.container_name(name)


def test_generated_names_are_valid_and_avoid_taken_ones() -> None:
    taken: set[str] = set()
    for _ in range(50):
        name = names.generate(taken.__contains__)
        assert names.container_name(name) == name
        assert name not in taken
        taken.add(name)
    assert len(names.generate(lambda name: name.isidentifier() and not name[-1].isdigit())) > 4


def test_find_prefers_names_and_refuses_ambiguous_prefixes() -> None:
    known = {"aa" + "0" * 62: "web", "ab" + "0" * 62: "aa"}
    assert names.find("aa", known) == "ab" + "0" * 62
    assert names.find("/web", known) == "aa" + "0" * 62
    with pytest.raises(StateError, match="more than one"):
        names.find("a", known)
    for missing in ("", "zz", "b"):
        with pytest.raises(NotFoundError):
            names.find(missing, known)


PASSWD = (
    b"root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:33:34::/srv:/x\n0x1:x:0:0::/:\n12:x:0:0::/:\n"
)
GROUP = b"root:x:0:\nweb:x:34:\nvideo:x:44:web,nobody\nbad:x:-1:web\n"


@pytest.mark.parametrize(
    ("text", "uid", "gids", "home"),
    [
        ("", 0, (0,), "/root"),
        ("root", 0, (0,), "/root"),
        ("web", 33, (34, 44), "/srv"),
        ("33", 33, (34, 44), "/srv"),
        ("web:video", 33, (44,), "/srv"),
        ("12", 12, (0,), "/"),
        ("1000:1001", 1000, (1001,), "/"),
        ("4294967294", 4294967294, (0,), "/"),
    ],
)
def test_user_is_resolved_as_docker_does(
    text: str, uid: int, gids: tuple[int, ...], home: str
) -> None:
    found = users.resolve(text, PASSWD, GROUP)
    assert (found.user.uid, found.user.gid, found.user.additional_gids) == (uid, gids[0], gids)
    assert found.home == home


@pytest.mark.parametrize(
    "text",
    [
        "-1",
        "1 ",
        " 1",
        "1:",
        ":1",
        ":",
        "0x1",
        "4294967295",
        "4294967296",
        "99999999999",
        "\u0661",
        "²",
        "nobody",
        "web:nogroup",
        "web:34:35",
        "root\n",
        "+0",
        "1_0",
        "root ",
        "0x1:0",
    ],
)
def test_user_refuses_instead_of_falling_to_root(text: str) -> None:
    with pytest.raises(UsageError):
        users.resolve(text, PASSWD, GROUP)


def test_user_refuses_a_database_of_hostile_size() -> None:
    with pytest.raises(UsageError, match="larger"):
        users.resolve("web", b"a" * (users.MAX_FILE_BYTES + 1), b"")


def test_group_add_takes_names_and_numbers() -> None:
    assert users.resolve("web", PASSWD, GROUP, ["7", "root"]).user.additional_gids == (34, 44, 7, 0)


def test_read_database_stays_inside_the_root(tmp_path: Path) -> None:
    """What if /etc/passwd of the image is a link out of it, a fifo or a device."""
    import os

    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").symlink_to("/../../../../../../etc/passwd")
    os.mkfifo(tmp_path / "etc/group")
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert users.read_database(fd, "etc/passwd") == b""
        with pytest.raises(UsageError, match="not a small file"):
            users.read_database(fd, "etc/group")
        (tmp_path / "etc/real").write_bytes(PASSWD)
        assert users.read_database(fd, "etc/real") == PASSWD
    finally:
        os.close(fd)


# ---- never another exception --------------------------------------------------------------------

PARSERS: list[Callable[[str], object]] = [
    sizes.byte_size,
    sizes.memory_limit,
    sizes.swap_limit,
    sizes.duration_ns,
    sizes.cpus_nano,
    sizes.cpu_list,
    words.signal_number,
    words.ulimit,
    lambda text: environment.env_file(text.encode("utf-8", "surrogatepass"), "f", {}),
    lambda text: environment.variable(text, {}),
    environment.label,
    lambda text: mounts.volume_flag(text, "/"),
    lambda text: mounts.mount_flag(text, "/"),
    lambda text: mounts.mount_flag(f"type=tmpfs,target=/a,{text}", "/"),
    mounts.tmpfs_flag,
    devices.device,
    devices.device_rule,
    devices.device_bytes,
    devices.device_operations,
    devices.device_weight,
    lambda text: security.security_options([text]),
    lambda text: security.log_options("", [text]),
    lambda text: security.namespace_mode("pid", text),
    security.sysctl,
    security.ip_address,
    security.mac_address,
    security.restart_policy,
    names.container_name,
    users.check,
    lambda text: users.resolve(text, PASSWD, GROUP),
]
TEXTS = st.text(max_size=40) | st.text("0123456789.:=,-/rwmkgbstypeunlfiocahd+ *\0٣", max_size=30)


@pytest.mark.parametrize("parser", PARSERS)
@given(text=TEXTS)
def test_parsers_raise_nothing_but_usage_errors(parser: Callable[[str], object], text: str) -> None:
    with contextlib.suppress(UsageError):
        parser(text)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_databases_of_any_bytes_are_survived(passwd: bytes, group: bytes) -> None:
    assert users.resolve("7", passwd, group).user.uid == 7


# ---- the whole command line ---------------------------------------------------------------------


def test_from_flags_makes_values_of_strings() -> None:
    flags = {
        "memory": "256m",
        "cpus": "1.5",
        "env": ("A=1", "HOME", "NOPE"),
        "volume": ("./m:/m:ro",),
        "tmpfs": ("/run",),
        "ulimit": ("nofile=1024",),
        "rm": True,
        "entrypoint": "",
        "health_interval": "10s",
        "publish": ("8080:80",),
        "stop_signal": "INT",
        "detach": False,
        "name": None,
    }
    found = from_flags(flags, ["true"], HERE)
    assert found.resources == ResourceOptions(
        memory_bytes=256 << 20, cpus_nano=1_500_000_000, ulimits=(Ulimit("nofile", 1024, 1024),)
    )
    assert found.env == ("A=1", "HOME=/root", "NOPE")
    assert [m.target for m in found.mounts] == ["/m", "/run"]
    assert (found.remove, found.entrypoint, found.stop_signal) == (True, ("",), 2)
    assert found.health.interval_ns == 10 * 10**9
    assert found.network.publish == ("8080:80",)


def test_from_flags_of_nothing_is_the_default() -> None:
    assert from_flags({}, [], HERE) == RunOptions()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"memory": "5m"}, "--memory: .*too low"),
        ({"memory": "lots"}, "--memory: invalid size"),
        ({"network": "nope"}, "--network: network nope not found"),
        ({"publish": ("x",)}, "--publish: "),
        ({"rm": True, "restart": "always"}, "--restart and --rm"),
        ({"detach": True, "attach": ("stdin",)}, "--attach and --detach"),
        ({"cpus": "1", "cpu_quota": "1000"}, "--cpus and --cpu-quota"),
        ({"memory_swap": "1g"}, "needs --memory"),
        ({"memory": "1g", "memory_swap": "512m"}, "lower than --memory"),
        ({"memory": "1g", "memory_reservation": "2g"}, "higher than --memory"),
        ({"oom_kill_disable": True}, "needs --memory"),
        ({"uts": "host", "hostname": "x"}, "--hostname and --uts host"),
        ({"network": "host", "publish": ("80:80",)}, "--publish needs"),
        ({"init": True, "pid": "host"}, "--init and --pid"),
        ({"no_healthcheck": True, "health_cmd": "x"}, "--no-healthcheck"),
        ({"health_interval": "1us"}, "at least 1ms"),
        ({"tmpfs": ("/a",), "volume": ("/a",)}, "duplicate mount point: /a"),
        ({"env_file": ("/nonexistent",)}, "/nonexistent: No such file"),
        ({"bogus": "1"}, "unknown flag --bogus"),
    ],
)
def test_from_flags_refuses(flags: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        from_flags(flags, ["true"], HERE)
    assert caught.value.hint or "No such file" in caught.value.message or "publish" in message


@pytest.mark.parametrize("flag", REFUSED)
def test_from_flags_refuses_by_name(flag: str) -> None:
    with pytest.raises(UsageError, match=f"--{flag.replace('_', '-')} is not supported") as caught:
        from_flags({flag: "x"}, ["true"], HERE)
    assert caught.value.hint


def test_one_of_the_times_below_a_millisecond_is_enough_to_refuse() -> None:
    with pytest.raises(UsageError, match="1ms"):
        from_flags({"health_interval": "10s", "health_timeout": "1ns"}, ["true"], HERE)
