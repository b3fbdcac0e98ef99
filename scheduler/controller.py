"""The loop around the pure half: look, decide, commit, act; and again.

The order is the whole of its safety. What was decided is committed before anything is done, every
effect may be done twice or be lost, and the next look finds out. Killed anywhere in between, the
next controller carries on from the store; it has nothing to remember.

Next: ``reconcile.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol

from minirun import MinirunError

from .actions import (
    AddServer,
    DrainServer,
    Effect,
    Event,
    Outcome,
    Remove,
    RemoveRoute,
    RemoveServer,
    SetRoute,
    Start,
    Stop,
)
from .apply import resumed
from .entry import Desired, Entry
from .gateway.protocol import Gateway
from .observed import Observed
from .reconcile import reconcile
from .runtime import Runtime


class Store(Protocol):
    """The state of record."""

    def load(self) -> Desired:
        """Return everything that is wanted."""

    def commit(
        self,
        entries: Mapping[str, Entry | None],
        events: tuple[Event, ...],
        seen: Desired | None = None,
    ) -> None:
        """Write entries (None deletes) and events in one transaction, durably.

        A deleted entry's ``next_serial`` is kept for whoever takes the name next.

        Raises:
            MinirunError: nothing was written; an entry may have been changed since it was ``seen``.
        """


class Controller:
    """One scheduler's control loop.

    Args:
        store: what is wanted.
        runtime: where replicas run.
        gateway: what sends them requests.
        monotonic: seconds that never go back, the same for every controller since the boot.
        unix: the wall clock, for cron schedules only.
    """

    def __init__(
        self,
        store: Store,
        runtime: Runtime,
        gateway: Gateway,
        monotonic: Callable[[], float],
        unix: Callable[[], float],
    ) -> None:
        self._store = store
        self._runtime = runtime
        self._gateway = gateway
        self._monotonic = monotonic
        self._unix = unix
        self._failing: dict[tuple[str, str], str] = {}
        self._troubles: dict[str, str] = {}
        #: Whether the last tick had something to do and could do nothing of it.
        self.is_stuck = False
        #: The last look at the world, for whoever shows it to people.
        self.last: Observed | None = None

    def resume(self) -> None:
        """Take over from an earlier controller: call once, before the first tick."""
        now = self._monotonic()
        entries = self._store.load().entries
        changed = {name: resumed(entry, now) for name, entry in entries.items()}
        self._store.commit({n: e for n, e in changed.items() if e is not entries[n]}, ())

    def observe(self) -> Observed:
        """Take one look at the world."""
        at = self._monotonic()
        self.last = Observed(
            at,
            self._runtime.host(),
            self._runtime.replicas(),
            self._gateway.servers(),
            self._gateway.routes(),
            self._gateway.traffic(),
            self._unix(),
            self._troubles,
        )
        return self.last

    def tick(self) -> Outcome:
        """Look, decide, commit, act; return what was decided.

        Raises:
            MinirunError: nothing was done, since it could not be written down or a person has
                changed something meanwhile; look again.
        """
        observed = self.observe()
        desired = self._store.load()
        outcome = reconcile(desired, observed, self._monotonic())
        if outcome.entries or outcome.events:
            self._store.commit(outcome.entries, outcome.events, desired)
        tried = [(effect, self._attempt(effect)) for effect in outcome.effects]
        # Of several, the first is told.
        self._troubles = {_owner(_subject(effect)): why for effect, why in reversed(tried) if why}
        self.is_stuck = bool(tried) and all(why for _, why in tried)
        return outcome

    def _attempt(self, effect: Effect) -> str:
        """Do one effect; return why it failed, "" where it did not.

        One that fails is told of once, and asked for again by the next look.
        """
        key = type(effect).__name__, _subject(effect)
        try:
            self._do(effect)
        except MinirunError as error:
            if self._failing.get(key) != error.message:
                self._failing[key] = error.message
                with suppress(MinirunError):  # on a full disk the other effects still count
                    self._store.commit({}, (_failure(*key, error),))
            return error.message
        self._failing.pop(key, None)
        return ""

    def _do(self, effect: Effect) -> None:
        match effect:
            case Start():
                self._runtime.start(effect)
            case Stop():
                self._runtime.stop(effect.id, effect.stop_s)
            case Remove():
                self._runtime.remove(effect.id)
            case AddServer():
                self._gateway.add(effect)
            case DrainServer():
                self._gateway.drain(effect.id, effect.pool)
            case RemoveServer():
                self._gateway.remove(effect.id, effect.pool)
            case SetRoute():
                self._gateway.set_route(effect.route)
            case RemoveRoute():
                self._gateway.remove_route(effect.deployment)


def _subject(effect: Effect) -> str:
    if isinstance(effect, SetRoute):
        return effect.route.deployment
    return effect.deployment if isinstance(effect, RemoveRoute) else effect.id


def _owner(subject: str) -> str:
    """Return the deployment that a replica, or it itself, is of."""
    return subject.rpartition(".")[0] or subject


def _failure(kind: str, subject: str, error: MinirunError) -> Event:
    text = f"{kind} {subject}: {error.message}"
    return Event(_owner(subject), "effect-failed", text, {"hint": error.hint})
