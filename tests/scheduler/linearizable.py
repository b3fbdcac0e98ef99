"""Whether a history of concurrent operations could have happened one after the other.

The search of Wing and Gong: take any operation that nothing else has ended before, let the model do
it, and go on with the rest; where the model's answer is not the one that was seen, go back. What is
left at the end of a history that could not have happened is the place where it went wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

S = TypeVar("S")


@dataclass(frozen=True)
class Operation(Generic[S]):
    """Something that one client did, and saw.

    ``step`` is the model: it returns the state after the operation, or None where what was seen
    could not have been seen in this state.
    """

    text: str
    began: float
    ended: float
    step: Callable[[S], S | None]


def is_linearizable(clients: Sequence[Sequence[Operation[S]]], initial: S) -> bool:
    """Return whether some order of all operations explains what every client saw.

    Args:
        clients: for each client its operations, in the order in which it did them.
        initial: the state before all of them; it must be hashable.
    """
    seen: set[tuple[tuple[int, ...], S]] = set()
    agenda = [((0,) * len(clients), initial)]
    while agenda:
        done, state = agenda.pop()
        if (done, state) in seen:
            continue
        seen.add((done, state))
        heads = [ops[i] if i < len(ops) else None for ops, i in zip(clients, done, strict=True)]
        if not any(heads):
            return True
        first_end = min(op.ended for op in heads if op)
        for client, op in enumerate(heads):
            if op and op.began <= first_end and (after := op.step(state)) is not None:
                further = tuple(n + (i == client) for i, n in enumerate(done))
                agenda.append((further, after))
    return False
