"""How a slot follows what happened to its replica: adopted, forgotten, restarted.

Each function takes an entry and returns it with some slots changed; nothing here decides how many
there should be. May not import anything with an effect. Next: ``space.py``.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from .entry import Entry, Slot, State, serial_of
from .observed import Replica
from .restart import after_exit
from .tick import Tick


def adopt(entry: Entry, strangers: list[Replica], tick: Tick) -> Entry:
    """Take over replicas that are newer than the store: it was restored from an older copy.

    A serial that the store has given out and forgotten belongs to a replica that was meant to go.
    """
    numbers = {revision.number for revision in entry.revisions}
    for replica in sorted(strangers, key=lambda r: serial_of(r.id)):
        serial = serial_of(replica.id)
        if serial < entry.next_serial or replica.revision not in numbers or entry.deleted:
            continue
        slot = Slot(replica.id, replica.revision, replica.grants, since=tick.now, reason="adopted")
        entry = replace(entry, slots=(*entry.slots, slot), next_serial=serial + 1)
        tick.event(replica.deployment, "adopted", f"{replica.id}: running, and not in the store")
    return entry


def forget_gone(entry: Entry, tick: Tick) -> Entry:
    """Delete draining slots whose replica was removed, and has left the gateway."""
    observed = tick.observed
    kept = tuple(
        slot
        for slot in entry.slots
        if slot.state is not State.DRAINING
        or slot.id in observed.replicas
        or slot.id in observed.servers
    )
    return entry if len(kept) == len(entry.slots) else replace(entry, slots=kept)


def follow(entry: Entry, tick: Tick) -> Entry:
    """Move slots whose replica ended, failed its liveness probe, or has waited long enough."""
    slots = tuple(_followed(entry, slot, tick) for slot in entry.slots)
    if any(new is not old for new, old in zip(slots, entry.slots, strict=True)):
        entry = replace(entry, slots=slots)
    return restarted(entry, tick)


def _followed(entry: Entry, slot: Slot, tick: Tick) -> Slot:
    if slot.state is not State.PLACED:
        return slot
    replica = tick.observed.replicas.get(slot.id)
    if replica is None or (not replica.has_ended and replica.alive):
        return slot
    policy = entry.revision(slot.revision).template.restart
    ended = replica if replica.has_ended else _killed(replica, tick.now)
    slot, event = after_exit(policy, slot, ended, tick.now, Random(replica.id).random)
    tick.events.append(event)
    return slot


def _killed(replica: Replica, now: float) -> Replica:
    """Return a replica that is about to be killed as if it had been."""
    why = replica.problem or "liveness probe failed"
    return replace(replica, ended_at=now, problem=why, exit_code=None)


def restarted(entry: Entry, tick: Tick) -> Entry:
    """Give every waiting slot whose time has come a new id, and so a new start.

    What still runs under the old id (it failed its liveness probe) has to end first.
    """
    serial, slots = entry.next_serial, []
    for slot in entry.slots:
        if slot.state is State.WAITING and slot.retry_at <= tick.now:
            old = tick.observed.replicas.get(slot.id)
            after = (slot.id,) if old and not old.has_ended else ()
            slots.append(_again(slot, f"{entry.deployment.name}.{serial}", after, tick.now))
            serial += 1
        else:
            slots.append(slot)
    if serial == entry.next_serial:
        return entry
    return replace(entry, slots=tuple(slots), next_serial=serial)


def _again(slot: Slot, new_id: str, after: tuple[str, ...], now: float) -> Slot:
    # A crash loop waits for a moment and starts for long: it is asked about while it starts, too.
    why = f"restarted: {slot.reason}" if slot.reason else ""
    return replace(slot, id=new_id, state=State.PLACED, since=now, after=after, reason=why)
