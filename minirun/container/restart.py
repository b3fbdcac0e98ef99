"""Start it again? Docker's restart policies: how it ended in, how long to wait out.

The wait doubles from 100 ms to a minute, so that a container which cannot start does not keep the
host busy; ten seconds of life show that it can, and the wait starts over.

Pure. Next: ``logs.py``.
"""

from __future__ import annotations

from ..record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .security import RestartPolicy

FIRST_DELAY_MS = 100
LAST_DELAY_MS = 60_000
SETTLED_S = 10.0


class Ended(Record):
    """How one run of the container ended.

    ``restarts`` and ``delay_ms`` are those of the restarts before this run; 0 on the first.
    """

    exit_code: int
    lived_s: float
    stopped_by_user: bool = False
    restarts: int = 0
    delay_ms: int = 0


def delay_ms(policy: RestartPolicy, ended: Ended) -> int | None:
    """Return how long to wait before the next start, or None when there is none.

    >>> from .security import RestartPolicy
    >>> delay_ms(RestartPolicy("always"), Ended(exit_code=0, lived_s=0.1, delay_ms=200))
    400
    """
    if not _restarts(policy, ended):
        return None
    if ended.lived_s >= SETTLED_S or not ended.delay_ms:
        return FIRST_DELAY_MS
    return min(ended.delay_ms * 2, LAST_DELAY_MS)


def _restarts(policy: RestartPolicy, ended: Ended) -> bool:
    if ended.stopped_by_user:
        return False
    if policy.name == "on-failure":
        allowed = policy.max_retries == 0 or ended.restarts < policy.max_retries
        return ended.exit_code != 0 and allowed
    return policy.name in ("always", "unless-stopped")


def starts_at_boot(policy: RestartPolicy, *, stopped_by_user: bool) -> bool:
    """Return whether a container that ran before a reboot is started after it.

    This is the only difference between ``always`` and ``unless-stopped``.
    """
    return policy.name == "always" or (policy.name == "unless-stopped" and not stopped_by_user)
