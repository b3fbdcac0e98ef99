"""Five hundred histories full of faults, each from a seed that replays it.

MINIRUN_SEEDS=10000 runs as many; MINIRUN_FIRST_SEED=17 begins there. A seed that fails is printed
with the command that tells its story.
"""

from __future__ import annotations

import os
import sys
from collections import Counter

import pytest

from tests.scheduler.simulator import run

SEEDS = int(os.environ.get("MINIRUN_SEEDS", "500"))
FIRST = int(os.environ.get("MINIRUN_FIRST_SEED", "0"))
BATCHES = 10


@pytest.mark.parametrize("batch", range(BATCHES))
def test_histories_end_well(batch: int) -> None:
    fates: Counter[str] = Counter()
    crashes = faults = 0
    for seed in range(FIRST + batch, FIRST + SEEDS, BATCHES):
        history = run(seed)
        fates += history.gateway.fates
        crashes += history.crashes
        faults += len(history.chaos.faults)
    print(f"{faults} faults, {crashes} controller crashes, {dict(fates)}", file=sys.stderr)


def test_histories_repeat() -> None:
    """What if a seed told two stories: a failure could not be looked at."""
    first, second = run(FIRST), run(FIRST)
    assert first.chaos.faults == second.chaos.faults
    assert first.store.events == second.store.events
    assert first.gateway.fates == second.gateway.fates
