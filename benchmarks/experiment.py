"""What is compared with what, and the loop that does it: one round each, in turn, ours first.

An experiment has contenders; a contender does one round and returns one value for each row. Rounds
alternate A B C, C B A, A B C, … so that neither drift nor the neighbour's warm caches favour one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .stats import Summary, ratios, summarise
from .timing import BenchError

#: One round: {row id: value}.
Round = Callable[[], Mapping[str, float]]
Narrator = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Target:
    """What a row has to reach.

    Args:
        limit: the largest value, or ratio, that passes.
        peer: of whom it is a ratio; "" for the value itself.
        is_worst: the worst round counts, not the median.
        is_moonshot: a hope: missing it is no failure.
    """

    limit: float
    peer: str = ""
    is_worst: bool = False
    is_moonshot: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Args:
        id: short and stable: what --only and the JSON call it.
        what: what is measured, in words.
        unit: of the values.
        targets: what ours has to reach.
    """

    id: str
    what: str
    unit: str = "ms"
    targets: tuple[Target, ...] = ()


@dataclass(frozen=True)
class Experiment:
    """Contenders in turn, for one or more rows.

    Args:
        rows: what a round gives a value for.
        contenders: {name: what does a round}; ours is the first.
        share: which part of the asked rounds this takes: long ones take fewer.
        warmup: rounds that are not counted: the caches are warm for everybody.
    """

    rows: tuple[Row, ...]
    contenders: Mapping[str, Round]
    share: float = 1.0
    warmup: int = 2

    def rounds(self, asked: int) -> int:
        """Return how many rounds are counted."""
        return max(1, round(asked * self.share))


@dataclass(frozen=True)
class Verdict:
    """Whether a target was reached, and with what."""

    target: Target
    value: float
    passed: bool


@dataclass
class Result:
    """Everything measured for a row: {contender: samples}, and why the others have none."""

    row: Row
    ours: str
    samples: dict[str, list[float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def summary(self, name: str) -> Summary:
        """Return one contender's figures."""
        return summarise(self.samples[name])

    def ratio(self, peer: str) -> Summary | None:
        """Return ours / peer; None where one of them has no samples."""
        ours, theirs = self.samples.get(self.ours), self.samples.get(peer)
        if not ours or not theirs or len(ours) != len(theirs):
            return None
        return summarise(ratios(ours, theirs))

    def verdicts(self) -> list[Verdict]:
        """Return each target with what was reached; none for a peer that is not here."""
        found = []
        for target in self.row.targets:
            figures = self.ratio(target.peer) if target.peer else self._own()
            if figures is not None:
                value = figures.worst if target.is_worst else figures.median
                found.append(Verdict(target, value, value <= target.limit))
        return found

    def _own(self) -> Summary | None:
        return self.summary(self.ours) if self.samples.get(self.ours) else None


def conduct(experiment: Experiment, asked: int, say: Narrator) -> list[Result]:
    """Run every contender in turn; one that fails is left out from then on, and named."""
    ours = next(iter(experiment.contenders))
    runners = _Runners(experiment, {row.id: Result(row, ours) for row in experiment.rows}, say)
    for _ in range(experiment.warmup):
        runners.round(counted=False)
    for number in range(experiment.rounds(asked)):
        runners.round(backwards=number % 2 == 1)
    return list(runners.results.values())


class _Runners:
    """Who is still running, and what they have reached."""

    def __init__(self, experiment: Experiment, results: dict[str, Result], say: Narrator) -> None:
        self.results = results
        self._running = dict(experiment.contenders)
        self._say = say
        for result in results.values():
            result.samples = {name: [] for name in self._running}

    def round(self, *, counted: bool = True, backwards: bool = False) -> None:
        """Let each contender do one round."""
        names = list(self._running)
        for name in reversed(names) if backwards else names:
            try:
                values = self._running[name]()
            except BenchError as error:
                self._leave_out(name, str(error))
                continue
            for row_id, value in values.items() if counted else ():
                self.results[row_id].samples[name].append(value)

    def _leave_out(self, name: str, why: str) -> None:
        """A fast failure is no result, and a half series cannot be compared: drop all of it."""
        self._say(f"  {name} is left out: {why}")
        del self._running[name]
        for result in self.results.values():
            del result.samples[name]
            result.failed[name] = why
