"""Groups that systemd owns: each container is a transient scope, asked for over D-Bus.

    create, apply   only remember          ┐  systemd makes no empty scope
    join            StartTransientUnit(PIDs=[self], MemoryMax=…), then the files ┘
    delete          StopUnit, ResetFailedUnit

A host whose tree belongs to systemd should have one writer: limits that were written behind its
back are lost at its next reload. What it has no property for, it leaves alone, and ``v2.py`` writes
it. The scope has Delegate=yes, so what is inside is the container's.

The process that asks is the one that moves, so nothing of the container ever runs unlimited.

See: org.freedesktop.systemd1(5), systemd.io/CGROUP_DELEGATION. Next: ``units.py``.
"""

from __future__ import annotations

import os

from ..errors import HostError, StateError
from .resources import writes
from .units import parse_unit, properties
from .v2 import V2Driver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from jeepney.io.blocking import DBusConnection

    from ..host import Host
    from ..spec_resources import Resources
    from .units import Property

BUS = "org.freedesktop.systemd1"
PATH = "/org/freedesktop/systemd1"
MANAGER = f"{BUS}.Manager"
#: systemd answers in milliseconds; a machine that boots has a queue of jobs.
TIMEOUT_S = 30.0
PROPERTIES = "org.freedesktop.DBus.Properties"
_GONE = (f"{BUS}.NoSuchUnit", f"{BUS}.UnitNotLoaded")
_VANISHED = ("org.freedesktop.DBus.Error.UnknownObject",)


class SystemdDriver(V2Driver):
    """One container's scope."""

    def __init__(self, host: Host, path: str) -> None:
        if host.cgroup_mode != "v2":
            raise HostError(
                f"the systemd cgroup manager needs cgroup v2, this host has {host.cgroup_mode}",
                hint="use --cgroup-manager cgroupfs",
            )
        self.unit = parse_unit(path)
        super().__init__(host, self.unit.path)
        self._starting = False
        self._resources: Resources | None = None
        self._owner: tuple[int, int] | None = None
        #: Tells our scope from that of another create: whoever forks after this keeps the number.
        self._title = f"minirun container {self.unit.name}, made by process {os.getpid()}"

    # ── life ──────────────────────────────────────────────────────────────────────────────────

    def create(self) -> None:
        """Find out whether the scope could be made; a scope begins with its first process.

        Raises:
            StateError: there is one of this name.
            HostError: this host does not run systemd.
        """
        if not os.path.isdir("/run/systemd/system"):
            raise HostError("this host does not run systemd", hint="use --cgroup-manager cgroupfs")
        if self.exists():
            raise StateError(
                f"unit {self.unit.name} exists",
                hint=f"choose another cgroupsPath, or systemctl stop {self.unit.name}",
            )
        Manager().close()  # what is missing is better known before the first process
        self._starting = True

    def apply(self, resources: Resources | None) -> None:
        """Remember the limits of the scope to come, after checking them."""
        if not self._starting:
            super().apply(resources)
            return
        if resources is not None:
            writes(resources, self.host)
        self._resources = resources

    def delegate(self, uid: int, gid: int) -> None:
        """Remember the owner of the scope to come."""
        if not self._starting:
            super().delegate(uid, gid)
            return
        self._owner = uid, gid

    def join(self) -> None:
        """Start the scope with ourselves in it; one that runs is joined like any other group."""
        if not self._starting:
            super().join()
            return
        lines = writes(self._resources, self.host) if self._resources else ()
        with Manager() as manager:
            manager.start(self.unit.name, [*self._description(), *properties(lines)])
        self._starting = False
        super().apply(self._resources)
        if self._owner is not None:
            super().delegate(*self._owner)

    def delete(self) -> None:
        """Remove the groups inside, and let systemd forget the scope.

        Of two creates of one name one fails to start; the other's scope is not its to take back.
        """
        if not os.path.isdir("/run/systemd/system"):
            super().delete()
            return
        with Manager() as manager:
            if self._starting and manager.description(self.unit.name) != self._title:
                return
            super().delete()
            manager.stop(self.unit.name)

    # ── limits ────────────────────────────────────────────────────────────────────────────────

    def update(self, resources: Resources) -> None:
        """Tell systemd first: it writes its own idea of each property that is changed."""
        lines = writes(self._completed(resources), self.host)
        self._check_usage(resources)
        with Manager() as manager:
            manager.set_properties(self.unit.name, properties(lines))
        super().update(resources)

    # ── below ─────────────────────────────────────────────────────────────────────────────────

    def _description(self) -> list[Property]:
        return [
            ("Description", ("s", self._title)),
            ("Slice", ("s", self.unit.slice)),
            ("PIDs", ("au", [os.getpid()])),
            ("Delegate", ("b", True)),
            ("DefaultDependencies", ("b", False)),  # a shutdown must not wait for us first
            ("CollectMode", ("s", "inactive-or-failed")),  # one that ran out of memory goes too
            *((f"{kind}Accounting", ("b", True)) for kind in ("CPU", "Memory", "Tasks", "IO")),
        ]


class Manager:
    """A connection to systemd's manager object, for as long as it is entered."""

    def __init__(self) -> None:
        try:
            from jeepney.io.blocking import open_dbus_connection
        except ImportError as error:
            raise HostError(
                "the systemd cgroup manager needs jeepney",
                hint="pip install 'minirun[systemd]', or use --cgroup-manager cgroupfs",
            ) from error
        try:
            self._bus: DBusConnection = open_dbus_connection(bus="SYSTEM")
        except OSError as error:
            raise HostError(
                f"the system bus cannot be reached: {error}", hint="is dbus.service running?"
            ) from error

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._bus.close()

    def start(self, unit: str, given: Iterable[Property]) -> None:
        """Start a transient unit, and wait until it is there.

        Raises:
            HostError: systemd refuses, or its job fails.
        """
        self._job("StartTransientUnit", "ssa(sv)a(sa(sv))", (unit, "fail", list(given), []))

    def stop(self, unit: str) -> None:
        """Stop a unit, and forget that it failed; one that is gone is no error."""
        self._job("StopUnit", "ss", (unit, "replace"), fine=_GONE)
        self._call("ResetFailedUnit", "s", (unit,), fine=_GONE)

    def description(self, unit: str) -> str:
        """Return what whoever made a unit called it; "" where there is none."""
        found = self._call("GetUnit", "s", (unit,), fine=_GONE)
        if not found:
            return ""
        words = (f"{BUS}.Unit", "Description")
        told = self._call("Get", "ss", words, path=found[0], interface=PROPERTIES, fine=_VANISHED)
        return str(told[0][1]) if told else ""

    def set_properties(self, unit: str, given: Iterable[Property]) -> None:
        """Change properties until the unit ends."""
        if changes := list(given):
            self._call("SetUnitProperties", "sba(sv)", (unit, True, changes))

    def _job(
        self, method: str, signature: str, arguments: tuple[object, ...], fine: tuple[str, ...] = ()
    ) -> None:
        """Call a method that starts a job, and wait for the signal that it has ended."""
        from jeepney import MatchRule, message_bus

        rule = MatchRule(type="signal", interface=MANAGER, member="JobRemoved", path=PATH)
        self._send(message_bus.AddMatch(rule))
        self._call("Subscribe", "", ())
        with self._bus.filter(rule, bufsize=1000) as removed:
            body = self._call(method, signature, arguments, fine)
            while body:
                signal = self._bus.recv_until_filtered(removed, timeout=TIMEOUT_S)
                _, job, name, result = signal.body
                if job != body[0]:
                    continue
                if result != "done":
                    raise HostError(f"{method} {name}: {result}", hint=f"systemctl status {name}")
                return

    def _call(
        self,
        method: str,
        signature: str,
        arguments: tuple[object, ...],
        fine: tuple[str, ...] = (),
        *,
        path: str = PATH,
        interface: str = MANAGER,
    ) -> tuple[Any, ...]:
        """Return the reply's body; empty where the error is one of those that are fine."""
        from jeepney import DBusAddress, HeaderFields, MessageType, new_method_call

        where = DBusAddress(path, bus_name=BUS, interface=interface)
        reply = self._send(new_method_call(where, method, signature or None, arguments))
        if reply.header.message_type is not MessageType.error:
            body: tuple[Any, ...] = reply.body
            return body
        name = reply.header.fields.get(HeaderFields.error_name, "")
        if name in fine:
            return ()
        said = reply.body[0] if reply.body else name
        raise HostError(f"systemd refuses {method}: {said}", hint="see journalctl -b -u dbus")

    def _send(self, message: Any) -> Any:  # noqa: ANN401 - jeepney's messages carry any body
        return self._bus.send_and_get_reply(message, timeout=TIMEOUT_S)
