"""One start of a container: network, streams, create, start.

What a start needs was decided when the container was made and lies in its folder: the record, the
spec, and ``start.json`` with what a spec cannot say (layers, network). So a start by the CLI, by
the launcher and by a restart policy are the same.

Next: ``ending.py``.
"""

from __future__ import annotations

import os

from ..container.entry import RUNNING, Attachment
from ..decode import decode
from ..lifecycle import Request
from ..quickjson import loads
from ..spec import Spec
from ..state import process_start_time, timestamp
from .place import Place, Running, StartFile
from .streams import Ends, make_pipes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..container.entry import ContainerRecord
    from ..container.security import LogOptions
    from ..network import Attachment as NetworkAttachment
    from ..runner import Observer
    from ..state import State


def start(
    place: Place,
    open_streams: Callable[[Ends, LogOptions], None],
    take_in_hand: Callable[[Running], None],
    observe: Observer | None = None,
) -> ContainerRecord:
    """Start the container once, and return the record that says so.

    Args:
        place: where it is kept.
        open_streams: called first, with our ends of the container's pipes or terminal, and how
            to log.
        take_in_hand: called with what will run, while init is busy if possible.
        observe: see ``runner.create``.

    Raises:
        MinirunError: nothing of this start is left; the record says why.
    """
    text, how = place.read_text("config.json"), place.read("start.json", StartFile)
    spec = decode(Spec, loads(text))
    record = place.store.read(place.id)
    terminal = spec.process is not None and spec.process.terminal
    ends, stdio = make_pipes(interactive=record.options.interactive and not terminal)

    def opened(ends: Ends) -> None:
        open_streams(ends, record.options.log)

    attempt = _Attempt(place, how, ends, opened, take_in_hand)
    try:
        attempt.run(spec, _request(place, spec, text, how, stdio), observe, terminal=terminal)
    except BaseException:
        attempt.undo()
        raise
    finally:
        for fd in stdio:
            os.close(fd)
    return _remember(place, attempt.found)


class _Attempt:
    """A start under way.

    Args:
        place, how: of the container.
        ends: of its pipes; later of its terminal.
        open_streams: called with the ends.
        take_in_hand: see ``start``.
    """

    def __init__(
        self,
        place: Place,
        how: StartFile,
        ends: Ends,
        open_streams: Callable[[Ends], None],
        take_in_hand: Callable[[Running], None],
    ) -> None:
        self._place, self._how, self._ends = place, how, ends
        self._open_streams, self._take_in_hand = open_streams, take_in_hand
        self._container = place.container()
        #: What the record is to say, written down once.
        self.found: dict[str, object] = {}

    def run(
        self, spec: Spec, request: Request, observe: Observer | None, *, terminal: bool
    ) -> None:
        """Start it. A terminal is made by init, so only then is there something to open."""
        attach = _connector(self._place, self._how, self.found)
        if not terminal:
            self._open_streams(self._ends)
        fds = self._container.run(spec, request, attach, observe, None if terminal else self._take)
        if terminal:
            self._ends = _keep_console_only(self._ends, fds["console"])
            self._open_streams(self._ends)
            self._take(self._container.directory.read())

    def _take(self, state: State) -> None:
        self.found.update(pid=state.pid, pid_start_time=state.start_time)
        self._take_in_hand(Running(state.pid, state.start_time, self._ends, state.cgroup))

    def undo(self) -> None:
        """Leave nothing of it."""
        self._container.delete(force=True)
        _detach(self._place, self._how)
        for fd in self._ends.all():
            os.close(fd)


def _request(
    place: Place, spec: Spec, text: str, how: StartFile, stdio: tuple[int, int, int]
) -> Request:
    return Request(
        place.id,
        bundle=place.file("").rstrip("/"),
        overlay=how.overlay,
        program=_filter(spec, how, place),
        network=how.network if how.network == "bridge" else "",
        stdio=stdio,
        spec_text=text,
    )


def _keep_console_only(ends: Ends, console: int) -> Ends:
    for fd in ends.all():
        if fd != ends.rest:
            os.close(fd)
    return Ends(console=console, rest=ends.rest)


def _filter(spec: Spec, how: StartFile, place: Place) -> bytes:
    """Return the default filter for the capabilities; b"" for the spec's own, or none."""
    if not how.default_seccomp:
        return b""
    from ..seccomp import default_filter

    held = spec.process.capabilities if spec.process else None
    return default_filter(held.bounding if held else (), f"{place.root}/.seccomp")


def _connector(
    place: Place, how: StartFile, found: dict[str, object]
) -> Callable[[int], Callable[[], object]] | None:
    """Return what attaches the network of a pid, and returns how to undo that."""
    if how.network != "bridge":
        return None
    from ..network import NetworkConfig, attach, hosts, parse_extra_host, parse_publish

    config = NetworkConfig(
        ports=tuple(mapping for text in how.publish for mapping in parse_publish(text)),
        extra_hosts=tuple(map(parse_extra_host, how.extra_hosts)),
        hostname=how.hostname,
    )

    def connect(pid: int) -> Callable[[], object]:
        netns = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            made = attach(config, place.id, netns, place.root)
        finally:
            os.close(netns)
        if "/etc/hosts" in how.etc:
            # In place: the file is already mounted inside, by its inode.
            with open(how.etc["/etc/hosts"], "w", encoding="utf-8") as file:
                file.write(hosts(config, made.ip, made.gateway))
        found["attachment"] = _attachment(made)
        return lambda: _detach(place, how)

    return connect


def _attachment(made: NetworkAttachment) -> Attachment:
    """Return what the record keeps of it."""
    return Attachment(
        made.ip, made.gateway, made.mac, made.bridge, ports=tuple(map(str, made.ports))
    )


def _detach(place: Place, how: StartFile) -> None:
    if how.network == "bridge":
        from ..network import detach

        detach(place.id, place.root)


def tear_down(place: Place) -> None:
    """Take away what ``start`` made, after the container has ended. May be repeated."""
    how = place.read("start.json", StartFile)
    _detach(place, how)
    place.container().delete(force=True)


def _remember(place: Place, found: Mapping[str, object]) -> ContainerRecord:
    """Write down that it runs, and who watches."""
    return place.store.set_state(
        place.id,
        **found,
        status=RUNNING,
        shim_pid=os.getpid(),
        shim_start_time=process_start_time(os.getpid()),
        started_at=timestamp(),
        finished_at="",
        exit_code=0,
        reason="",
        error="",
        oom_killed=False,
        health=None,
    )
