"""A network without root: a program of the user's own copies between the container and sockets.

    container ── tap ──▶ pasta or slirp4netns ──▶ ordinary sockets of the host

A bridge needs the host's CAP_NET_ADMIN. An ordinary user may open connections, though, and a tap
device in a namespace of his own: the program behind it ends the container's connections and makes
them anew as the user. Published ports are sockets that it listens on. Both programs get the same
subnet, so a container sees no difference; neither lets it reach what the host serves on 127.0.0.1.

The program outlives the command that started it, so its pid is noted below the state root, with its
start time. It may not be found through PATH. See: passt(1), slirp4netns(1). Next: ``connect.py``.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from contextlib import contextmanager

from .. import kernel
from ..errors import NetworkError
from ..flags import Mount, Umount
from ..quickjson import dumps, loads
from ..record import Record
from . import publish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from .publish import PortMapping

IP, PREFIX, GATEWAY = "10.0.2.100", 24, "10.0.2.2"
_PLACES = ("/usr/bin", "/usr/local/bin", "/bin")
_MTU = "65520"
_IGNORED_BY_US = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGPIPE)
_TUN_HINT = "every user must be able to open /dev/net/tun: as root, chmod 666 /dev/net/tun"
_READY_S = 10
_END_MS = 5000


class Program(Record):
    """A program that is running: which process, as nobody else can be mistaken for it."""

    pid: int
    start_time: int


def attach(
    container_id: str, ports: Sequence[PortMapping], netns_fd: int, state_dir: str
) -> tuple[PortMapping, ...]:
    """Connect a network namespace; return the ports with the host's side filled in.

    Raises:
        NetworkError: there is no program for it, it failed, or a port is taken.
    """
    folder = f"{state_dir}/.usermode"
    os.makedirs(folder, 0o700, exist_ok=True)
    note = f"{folder}/{container_id}"
    chosen, sockets = publish.reserve(ports, ())
    publish.release(sockets)  # the program binds them itself, a moment later
    with _named(netns_fd, f"{note}.netns") as netns:
        pid = _run_first(chosen, netns, note)
    with open(note, "w", encoding="ascii") as file:
        file.write(dumps({"pid": pid, "start_time": _start_time(pid)}))
    return chosen


def _run_first(ports: Sequence[PortMapping], netns: str, note: str) -> int:
    """Run the first program that can do it: pasta wants a default route, which not everybody has.

    Raises:
        NetworkError: none is installed; else what the last one said.
    """
    refusal = NetworkError(
        "a user's container is connected by pasta or slirp4netns, and neither is installed",
        hint="apt-get install passt; or use --network none or --network host",
    )
    for name, run in (("pasta", _run_pasta), ("slirp4netns", _run_slirp)):
        if path := find(name):
            try:
                return run(path, ports, netns, note)
            except NetworkError as error:
                refusal = error
    raise refusal


def detach(container_id: str, state_dir: str) -> None:
    """End a container's program; nothing is left to do the second time."""
    note = f"{state_dir}/.usermode/{container_id}"
    try:
        with open(note, encoding="ascii") as file:
            held = loads(file.read())
    except FileNotFoundError:
        return
    _end(Program(held["pid"], held["start_time"]))
    os.unlink(note)


def reconcile(live_ids: Collection[str], state_dir: str) -> tuple[str, ...]:
    """End the programs of containers that are gone; return whose they were."""
    try:
        names = os.listdir(f"{state_dir}/.usermode")
    except FileNotFoundError:
        return ()
    lost = tuple(name for name in names if "." not in name and name not in live_ids)
    for name in lost:
        detach(name, state_dir)
    return lost


@contextmanager
def _named(netns_fd: int, path: str) -> Iterator[str]:
    """Give a namespace a name for a moment, in our own mount namespace.

    The programs drop their capabilities before they open it, so they may not look into our /proc.
    """
    os.close(os.open(path, os.O_CREAT | os.O_CLOEXEC, 0o600))
    try:
        kernel.mount(f"/proc/self/fd/{netns_fd}", path, None, Mount.MS_BIND, None)
        try:
            yield path
        finally:
            kernel.umount2(path, Umount.MNT_DETACH)
    finally:
        os.unlink(path)


def find(name: str) -> str:
    """Return the path of a program that an administrator installed, or ""."""
    paths = (f"{place}/{name}" for place in _PLACES)
    return next((path for path in paths if os.access(path, os.X_OK)), "")


# ── pasta ─────────────────────────────────────────────────────────────────────────────────────


def pasta_words(ports: Sequence[PortMapping], netns: str, pid_file: str) -> tuple[str, ...]:
    """Return pasta's arguments. What is not published must be said: by default everything is.

    >>> from .publish import parse_publish
    >>> pasta_words(parse_publish("127.0.0.1:8080:80"), "/n", "/p")[-7:-3]
    ('-t', '127.0.0.1/8080:80', '-u', 'none')
    """
    network = ("-a", IP, "-n", str(PREFIX), "-g", GATEWAY, "-m", _MTU, "-I", "eth0")
    closed = ("--no-map-gw", "-T", "none", "-U", "none")
    published: list[str] = []
    for option, protocol in (("-t", "tcp"), ("-u", "udp")):
        specs = [_spell(port) for port in ports if port.protocol == protocol]
        for spec in specs or ["none"]:
            published += [option, spec]
    always = ("--config-net", "-4", "-q", "-e", "-P", pid_file)
    return (*always, *network, *closed, *published, "--no-netns-quit", "--netns", netns)


def _spell(port: PortMapping) -> str:
    where = "" if port.host_ip == publish.ANY else f"{port.host_ip}/"
    return f"{where}{port.host_port}:{port.container_port}"


def _run_pasta(path: str, ports: Sequence[PortMapping], netns: str, note: str) -> int:
    """Let pasta set everything up; it goes to the background, and returns, once that is done."""
    pid_file = f"{note}.pid"
    heard, said = os.pipe()
    pid = _spawn((path, *pasta_words(ports, netns, pid_file)), {2: said})
    os.close(said)
    with open(heard, encoding="utf-8", errors="replace") as stream:
        lines = [line.strip() for line in stream if not line.startswith("Failed to send ")]
    _, status = os.waitpid(pid, 0)
    if status:
        reason = lines[-1] if lines else f"exit code {os.waitstatus_to_exitcode(status)}"
        raise NetworkError(f"pasta: {reason}", hint=_hint(reason))
    with open(pid_file, encoding="ascii") as file:
        found = int(file.read())
    os.unlink(pid_file)
    return found


def _hint(reason: str) -> str:
    if "tun" in reason or "tap" in reason:
        return _TUN_HINT
    return "--network none or --network host need no program; see passt(1)"


# ── slirp4netns ───────────────────────────────────────────────────────────────────────────────


def slirp_words(netns: str, socket_path: str, ready_fd: int) -> tuple[str, ...]:
    """Return slirp4netns's arguments; ports are asked for later, over its socket."""
    return (
        *("--configure", f"--mtu={_MTU}", "--disable-host-loopback", f"--ready-fd={ready_fd}"),
        *(f"--api-socket={socket_path}", "--netns-type=path", netns, "eth0"),
    )


def _run_slirp(path: str, ports: Sequence[PortMapping], netns: str, note: str) -> int:
    """Start it, wait until it is ready, have it listen on the published ports."""
    # A container's id would make the socket's path longer than the 108 bytes that one may have.
    socket_path = f"{os.path.dirname(note)}/{os.path.basename(note)[:12]}.sock"
    heard, ready = os.pipe()
    pid = _spawn((path, *slirp_words(netns, socket_path, 3)), {3: ready})
    os.close(ready)
    try:
        _await_slirp(heard)
        for port in ports:
            _ask_slirp(socket_path, port)
    except BaseException:
        _end(Program(pid, _start_time(pid)))
        raise
    finally:
        os.close(heard)
        if os.path.lexists(socket_path):
            os.unlink(socket_path)  # all that there is to ask has been asked
    return pid


def _await_slirp(ready: int) -> None:
    """Wait until the interface is there, or until the program has ended."""
    if not select.select([ready], [], [], _READY_S)[0] or os.read(ready, 1) != b"1":
        raise NetworkError("slirp4netns did not get ready", hint=_TUN_HINT)


def _ask_slirp(socket_path: str, port: PortMapping) -> None:
    """Have it listen on one port of the host. See: slirp4netns(1), API."""
    arguments = {
        "proto": port.protocol,
        "host_addr": port.host_ip,
        "host_port": port.host_port,
        "guest_addr": IP,
        "guest_port": port.container_port,
    }
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(socket_path)
        link.send(dumps({"execute": "add_hostfwd", "arguments": arguments}).encode())
        link.shutdown(socket.SHUT_WR)
        answer = loads(link.recv(4096))
    if "error" in answer:
        raise NetworkError(f"slirp4netns cannot publish {port}: {answer['error']}")


# ── processes ─────────────────────────────────────────────────────────────────────────────────


def _spawn(argv: tuple[str, ...], fds: dict[int, int]) -> int:
    """Start a program in a session of its own, with nothing open but what is named.

    Signals are as at the beginning: pasta takes it for a failure that SIGPIPE is ignored already.
    """
    actions = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    redirected = [(os.POSIX_SPAWN_DUP2, fd, place) for place, fd in fds.items()]
    return os.posix_spawn(
        argv[0],
        argv,
        {},
        file_actions=[*actions, *redirected],
        setsid=True,
        setsigmask=(),
        setsigdef=_IGNORED_BY_US,
    )


def _end(program: Program) -> None:
    """Kill a program and wait until it is gone."""
    try:
        pidfd = os.pidfd_open(program.pid)
    except ProcessLookupError:
        return
    try:
        if _start_time(program.pid) != program.start_time:
            return  # its number is somebody else's by now
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        select.select([pidfd], [], [], _END_MS / 1000)
        os.waitpid(program.pid, os.WNOHANG)
    except (ProcessLookupError, ChildProcessError):
        return  # it was faster, or is not ours to collect
    finally:
        os.close(pidfd)


def _start_time(pid: int) -> int:
    """Return field 22 of /proc/PID/stat: a pid alone may come to mean another process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return int(file.read().rpartition(")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return 0
