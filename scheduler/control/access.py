"""Quotas and secrets: what deployments share, and may not lose while one needs it.

Next: ``logs.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from minirun import ScheduleError

from ..entry import Desired, Entry
from ..model import Quota
from ..store import Change
from ..tick import holds_room
from .capacity import Amounts, total
from .context import Control


@dataclass(frozen=True, slots=True)
class QuotaStatus:
    """A quota, who names it, and how much of it is in use."""

    quota: Quota
    deployments: tuple[str, ...]
    used: Amounts
    replicas: int


def quota_status(control: Control, name: str) -> QuotaStatus:
    """Return a quota and its use.

    Raises:
        ScheduleError: there is no such quota (404).
    """
    desired = control.store.load()
    if name not in desired.quotas:
        raise _no_quota(name)
    mine = {n: e for n, e in sorted(desired.entries.items()) if e.deployment.quota == name}
    observed = control.observed()
    slots = [s for entry in mine.values() for s in entry.slots if holds_room(s, observed)]
    grants = [grant for slot in slots for grant in slot.grants]
    return QuotaStatus(desired.quotas[name], tuple(mine), total(grants), len(slots))


def quotas(control: Control) -> tuple[QuotaStatus, ...]:
    """Return all quotas by name."""
    return tuple(quota_status(control, name) for name in sorted(control.store.load().quotas))


def put_quota(control: Control, quota: Quota) -> None:
    """Create or replace a quota; what runs already keeps running."""
    control.store.transact(lambda _: Change(quotas={quota.name: quota}))


def remove_quota(control: Control, name: str) -> None:
    """Forget a quota.

    Raises:
        ScheduleError: there is none (404), or a deployment names it (409).
    """

    def decide(desired: Desired) -> Change:
        if name not in desired.quotas:
            raise _no_quota(name)
        users = (n for n, e in desired.entries.items() if e.deployment.quota == name)
        _refuse_if_used(f"quota {name}", users)
        return Change(quotas={name: None})

    control.store.transact(decide)


def _no_quota(name: str) -> ScheduleError:
    return ScheduleError(f"there is no quota {name}", status=404)


def _refuse_if_used(what: str, users: Iterable[str]) -> None:
    if names := sorted(users):
        text = f"{what} is used by {', '.join(names[:5])}"
        raise ScheduleError(text, status=409, hint="change or delete what uses it first")


def remove_secret(control: Control, name: str) -> None:
    """Forget a secret.

    Raises:
        ScheduleError: there is none (404), or a deployment mounts it (409).
    """

    def check(desired: Desired) -> None:
        users = (n for n, e in desired.entries.items() if _mounts(e, name))
        _refuse_if_used(f"secret {name}", users)

    control.store.remove_secret(name, check)


def _mounts(entry: Entry, secret: str) -> bool:
    used = (s.source for r in entry.revisions for s in r.template.secrets)
    return not entry.deleted and secret in used
