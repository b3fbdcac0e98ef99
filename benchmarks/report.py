"""The results as a table, as Markdown and as JSON. Pure: a value in, a text out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .experiment import Result, Verdict
    from .host import Host
    from .stats import Summary

HEADINGS = ("", "n", "median", "p10-p90", "ratio", "p10-p90", "target")
Cells = tuple[str, ...]


def table(results: Sequence[Result], host: Host) -> str:
    """Return the table for a terminal: each row's name, then a line for each contender."""
    blocks = [(title(result), list(lines(result))) for result in results]
    cells = [HEADINGS, *(line for _, block in blocks for line in block)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    text = [*facts(host), "", _aligned(HEADINGS, widths)]
    for name, block in blocks:
        text += [name, *(_aligned(line, widths) for line in block)]
    return "\n".join([*text, "", footer(results)])


def _aligned(line: Cells, widths: Sequence[int]) -> str:
    first, *numbers = line
    *numbers, last = numbers
    middle = (cell.rjust(width) for cell, width in zip(numbers, widths[1:], strict=False))
    return f"  {first.ljust(widths[0])}  {'  '.join(middle)}  {last}".rstrip()


def markdown(results: Sequence[Result], host: Host) -> str:
    """Return the table for a page."""
    text = [*(f"{fact}  " for fact in facts(host)), ""]
    text += [_piped(("what", *HEADINGS)), _piped(("---",) * (len(HEADINGS) + 1))]
    for result in results:
        for number, line in enumerate(lines(result)):
            text.append(_piped((title(result) if number == 0 else "", *line)))
    return "\n".join([*text, "", footer(results)])


def _piped(cells: Cells) -> str:
    return f"| {' | '.join(cells)} |"


def title(result: Result) -> str:
    """Return a row's heading."""
    return f"{result.row.id}: {result.row.what} [{result.row.unit}]"


def facts(host: Host) -> Iterator[str]:
    """Yield what the numbers were measured on."""
    yield f"{host.date}, {host.machine}"
    yield ", ".join(f"{name} {version}" for name, version in host.versions.items())
    yield f"load {host.load_before} before, {host.load_after} after (the benchmark's own included)"


def lines(result: Result) -> Iterator[Cells]:
    """Yield a line of cells for each contender: ours, with its own targets, then the peers."""
    verdicts = result.verdicts()
    for name in result.samples:
        ratio = result.ratio(name) if name != result.ours else None
        held = [v for v in verdicts if v.target.peer == (name if name != result.ours else "")]
        yield (
            name,
            *_figures(result.summary(name)),
            *((f"{ratio.median:.2f}", f"{ratio.p10:.2f}-{ratio.p90:.2f}") if ratio else ("", "")),
            ", ".join(map(verdict, held)),
        )
    for name in result.failed:
        yield (name, "-", "-", "-", "", "", "left out")


def _figures(summary: Summary) -> Cells:
    return str(summary.n), number(summary.median), f"{number(summary.p10)}-{number(summary.p90)}"


def number(value: float) -> str:
    """Return three significant digits.

    >>> number(1234.5), number(12.34), number(0.1234)
    ('1234', '12.3', '0.12')
    """
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def verdict(found: Verdict) -> str:
    """Return whether a target was reached."""
    target = found.target
    worst = "worst " if target.is_worst else ""
    hope = "moonshot " if target.is_moonshot else ""
    word = "pass" if found.passed else ("not yet" if target.is_moonshot else "FAIL")
    shown = f" at {number(found.value)}" if target.is_worst else ""
    return f"{hope}{worst}<= {target.limit:g} {word}{shown}"


def footer(results: Sequence[Result]) -> str:
    """Return the score, and how to read the table."""
    verdicts = [v for result in results for v in result.verdicts() if not v.target.is_moonshot]
    reached = sum(v.passed for v in verdicts)
    return (
        f"{reached} of {len(verdicts)} targets reached. "
        "A ratio is ours / theirs within each round; below 1 minirun is faster or smaller."
    )


def to_json(results: Sequence[Result], host: Host) -> str:
    """Return everything, each sample included."""
    return json.dumps(
        {
            "host": dataclasses.asdict(host),
            "results": [
                {
                    **dataclasses.asdict(result),
                    "summaries": {
                        name: dataclasses.asdict(result.summary(name)) for name in result.samples
                    },
                    "verdicts": [dataclasses.asdict(v) for v in result.verdicts()],
                }
                for result in results
            ],
        },
        indent=1,
    )
