"""``python -m benchmarks``: measure, print the table, write JSON and a chart."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from . import chart, host, report
from .catalogue import catalogue
from .engines import engines
from .experiment import Experiment, Result, conduct
from .lab import Lab, inside
from .runtimes import runtimes
from .timing import BenchError
from .warm import launcher

_RESULTS = Path(__file__).parent / "results"


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line, measure in a lab, return an exit code: 1 when it could not be done."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="counted rounds of each row (20)")
    parser.add_argument("--only", action="append", default=[], help="rows that begin with this")
    parser.add_argument("--list", action="store_true", help="name the rows and measure nothing")
    parser.add_argument("--markdown", action="store_true", help="print the table for a page")
    parser.add_argument("--output", type=Path, default=_RESULTS, help="folder for JSON and chart")
    chosen = parser.parse_args(argv)
    # What Python is told to leave out, it would have to do again at every start.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        return inside(lambda lab: _measure(lab, chosen))
    except BenchError as error:
        sys.stderr.write(f"benchmarks: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def _measure(lab: Lab, chosen: argparse.Namespace) -> int:
    """Run what was chosen; report it."""
    about = host.look()
    _warn_if_busy(about.load_before)
    begin = time.monotonic()
    results: list[Result] = []
    script = Path(__file__).parents[1] / "scripts/minirun-oci"
    with engines(lab) as found:
        for name, why in found.absent.items():
            _say(f"{name} is left out: {why}")
        plan = catalogue(lab, found, runtimes(lab, script))
        try:
            for experiment in _chosen(plan, chosen.only):
                if chosen.list:
                    _list(experiment)
                else:
                    results += _conduct(experiment, chosen.rounds)
        except KeyboardInterrupt:
            _say("interrupted: this is what was measured until now")
    if not chosen.list:
        _report(results, dataclasses.replace(about, load_after=host.load()), chosen)
        _say(f"{time.monotonic() - begin:.0f} s")
    return 0


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _warn_if_busy(load: float) -> None:
    if load > host.QUIET_LOAD:
        _say(f"warning: load {load}: this machine is busy; trust the ratios, not the times")


def _chosen(plan: Iterator[Experiment], only: Sequence[str]) -> Iterator[Experiment]:
    prefixes = tuple(only)
    return (e for e in plan if not only or any(row.id.startswith(prefixes) for row in e.rows))


def _list(experiment: Experiment) -> None:
    for row in experiment.rows:
        sys.stdout.write(f"{row.id:24} {row.what} ({', '.join(experiment.contenders)})\n")


def _conduct(experiment: Experiment, rounds: int) -> list[Result]:
    """Run one experiment; the launcher is there only where it is measured: others start cold."""
    _say(f"{', '.join(row.id for row in experiment.rows)} …")
    if experiment.rows[0].id.startswith("launcher"):
        with launcher():
            return conduct(experiment, rounds, _say)
    return conduct(experiment, rounds, _say)


def _report(results: Sequence[Result], about: host.Host, chosen: argparse.Namespace) -> None:
    """Print the table and write the files."""
    form = report.markdown if chosen.markdown else report.table
    sys.stdout.write(form(results, about) + "\n")
    chosen.output.mkdir(parents=True, exist_ok=True)
    (chosen.output / "bench.json").write_text(report.to_json(results, about))
    _say(f"samples: {chosen.output / 'bench.json'}")
    try:
        chart.draw(results, f"{about.date}, {about.machine}", chosen.output / "bench.png")
    except ImportError:
        _say("no chart: matplotlib is not installed; make bench installs it")
    else:
        _say(f"chart: {chosen.output / 'bench.png'}")


if __name__ == "__main__":
    sys.exit(main())
