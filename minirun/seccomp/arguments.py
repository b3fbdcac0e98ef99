"""Rules that compare arguments, where libseccomp would merge them into a wrong program.

libseccomp folds all rules of one call into one tree. With some of them the tree lets calls pass
that no rule allows: seen with 2.5.4 for two rules with LT or LE, and for rules on different
arguments. A rule of its own, and any number that ask one argument for equality, come out right. So
those go to libseccomp, and the rest is written here the plain way, in front of its program::

    the architecture is this one?  the number is that one?    else: skip the block
    every comparison of the first rule holds?                 ret its action
    every comparison of the second …                          ret its action
    ret the default action

Arguments have 64 bits and BPF has 32, so each comparison looks at the high half first.

Pure. Next: ``library.py``.
"""

from __future__ import annotations

from .bpf import (
    JEQ,
    JGE,
    JGT,
    OFFSET_ARCH,
    OFFSET_NUMBER,
    give,
    jump,
    load_argument,
    mask,
    only_for,
)
from .words import OPERATORS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .words import Condition, Rule

_LOW = 0xFFFFFFFF
_NE, _LT, _LE, _EQ, _GE, _GT, _MASKED = OPERATORS.values()
_ORDERED = (_LT, _LE, _GE, _GT)


def mergeable(rules: Sequence[Rule]) -> bool:
    """Return True where libseccomp turns these rules of one call into a right program."""
    conditions = [condition for rule in rules for condition in rule.conditions]
    if len(rules) == 1 or not all(rule.conditions for rule in rules):
        return True
    one_argument = len({condition.index for condition in conditions}) == 1
    one_each = len(conditions) == len(rules)
    return one_argument and one_each and sum(c.op in _ORDERED for c in conditions) <= 1


def block(arch: int, number: int, rules: Sequence[Rule], default: int) -> bytes:
    """Return the instructions that decide one call on one architecture; the first match counts."""
    decide = b"".join(_rule(rule) for rule in rules) + give(default)
    return only_for(OFFSET_ARCH, arch, only_for(OFFSET_NUMBER, number, decide))


def _rule(rule: Rule) -> bytes:
    """Return comparisons that end in the action, or fall behind it; made from the end."""
    code = give(rule.action)
    for condition in reversed(rule.conditions):
        code = _compare(condition, len(code) // 8) + code
    return code


def _compare(condition: Condition, rest: int) -> bytes:
    """Return one comparison: go on where it holds, else skip the rest of the rule."""
    index, op, value = condition.index, condition.op, condition.a
    high, low = load_argument(index, high=True), load_argument(index, high=False)
    top, bottom = value >> 32, value & _LOW
    if op == _MASKED:
        wanted = condition.b
        code = low + mask(bottom) + jump(JEQ, wanted & _LOW, 0, rest)
        return high + mask(top) + jump(JEQ, wanted >> 32, 0, rest + 3) + code
    if op == _EQ:
        return high + jump(JEQ, top, 0, rest + 2) + low + jump(JEQ, bottom, 0, rest)
    if op == _NE:
        return high + jump(JEQ, top, 0, 2) + low + jump(JEQ, bottom, rest, 0)
    # Behind the first jump the high half is not above; behind the second it is equal.
    if op in (_GT, _GE):
        last = jump(JGT if op == _GT else JGE, bottom, 0, rest)
        return high + jump(JGT, top, 3, 0) + jump(JEQ, top, 0, rest + 2) + low + last
    last = jump(JGE if op == _LT else JGT, bottom, rest, 0)
    return high + jump(JGT, top, rest + 3, 0) + jump(JEQ, top, 0, 2) + low + last
