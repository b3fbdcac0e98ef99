"""What a deployment's replicas use of the CPU they requested, for those that scale by it.

Next: ``../gateway/haproxy.py``, which passes it on with the other numbers of a deployment.
"""

from __future__ import annotations

import time
from threading import Lock

from ..store import Store
from .inside import Inside
from .local import LocalRuntime

#: Between two looks at a counter: less would be noise.
LEAST_S = 1.0


class Load:
    """Differences of the counters of CPU time.

    Args:
        store: says which deployments scale by CPU.
        runtime: their replicas.
        inside: the counters.
    """

    def __init__(self, store: Store, runtime: LocalRuntime, inside: Inside) -> None:
        self._store = store
        self._runtime = runtime
        self._inside = inside
        self._lock = Lock()
        self._taken_at = 0.0
        self._cpu_s: dict[str, float] = {}
        self._cores: dict[str, float] = {}

    def cpu_percent(self, deployment: str) -> float | None:
        """Return the mean over ready replicas, of what each requested; None where unknown."""
        entry = self._store.load().entries.get(deployment)
        spec = entry.deployment if entry else None
        if spec is None or spec.autoscale is None or not spec.autoscale.cpu_percent:
            return None
        requested = spec.template.requests.cpu_millis / 1000
        with self._lock:
            self._look()
            mine = [
                self._cores[name]
                for name, replica in self._runtime.replicas().items()
                if replica.deployment == deployment
                and replica.ready_since is not None
                and name in self._cores
            ]
        return 100 * sum(mine) / len(mine) / requested if mine and requested else None

    def _look(self) -> None:
        """Take the counters again, where the last time is long enough ago."""
        now = time.monotonic()
        elapsed = now - self._taken_at
        if elapsed < LEAST_S:
            return
        cpu_s = {name: usage.cpu_s for name, usage in self._inside.usage().items()}
        self._cores = {
            name: (used - self._cpu_s[name]) / elapsed
            for name, used in cpu_s.items()
            if name in self._cpu_s
        }
        self._cpu_s, self._taken_at = cpu_s, now
