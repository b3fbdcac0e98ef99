"""The benchmark's arithmetic, its fairness, and that it leaves nothing behind; it is never run."""

from __future__ import annotations

import doctest
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from benchmarks import chart, memory, report, stats
from benchmarks.experiment import Experiment, Result, Row, Target, conduct
from benchmarks.host import Host
from benchmarks.timing import BenchError, time_ms, together_ms

ROOT = Path(__file__).parents[2]
HOST = Host("2026-01-31", "2 cores", {"minirun": "1.0"}, 0.1, 0.9)
RUN = Row("run", "a run", targets=(Target(0.5, "peer"), Target(15.0), Target(0.1, "peer", True)))


def _result(row: Row = RUN) -> Result:
    return Result(row, "minirun", {"minirun": [10.0, 20.0, 15.0], "peer": [40.0, 40.0, 50.0]})


def _steady(row: str, value: float) -> Callable[[], Mapping[str, float]]:
    return lambda: {row: value}


@pytest.mark.parametrize("module", ["benchmarks.stats", "benchmarks.report"])
def test_examples_in_docstrings_are_true(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0


def test_ratio_is_taken_round_by_round() -> None:
    """Both twice as slow in the second round: the ratio does not notice."""
    result = Result(RUN, "minirun", {"minirun": [10.0, 20.0], "peer": [20.0, 40.0]})
    ratio = result.ratio("peer")
    assert ratio is not None
    assert (ratio.median, ratio.p10, ratio.p90) == (0.5, 0.5, 0.5)


def test_verdicts_tell_ratio_from_value_and_median_from_worst() -> None:
    assert [verdict.passed for verdict in _result().verdicts()] == [True, True, False]
    worst = Row("run", "", targets=(Target(15.0, is_worst=True),))
    assert [verdict.value for verdict in _result(worst).verdicts()] == [20.0]


def test_a_missing_peer_has_no_verdict() -> None:
    result = Result(RUN, "minirun", {"minirun": [10.0]}, {"peer": "not installed"})
    assert [verdict.target.peer for verdict in result.verdicts()] == [""]


def test_rounds_alternate_their_order_and_warm_up_is_not_counted() -> None:
    order: list[str] = []

    def contender(name: str) -> Callable[[], Mapping[str, float]]:
        def round_() -> Mapping[str, float]:
            order.append(name)
            return {"run": 1.0}

        return round_

    experiment = Experiment((RUN,), {"a": contender("a"), "b": contender("b")}, warmup=1)
    (result,) = conduct(experiment, 2, lambda _: None)
    assert "".join(order) == "ab" + "ab" + "ba"
    assert {name: len(samples) for name, samples in result.samples.items()} == {"a": 2, "b": 2}


def test_a_contender_that_fails_is_left_out_with_all_its_samples() -> None:
    calls = iter(range(10))

    def fails_late() -> Mapping[str, float]:
        if next(calls) > 1:
            raise BenchError("out of luck")
        return {"run": 0.001}

    said: list[str] = []
    experiment = Experiment((RUN,), {"minirun": _steady("run", 1.0), "peer": fails_late}, warmup=0)
    (result,) = conduct(experiment, 5, said.append)
    assert result.samples == {"minirun": [1.0] * 5}
    assert result.failed == {"peer": "out of luck"}
    assert "out of luck" in said[0]


def test_ours_stays_ours_when_it_fails() -> None:
    def fails() -> Mapping[str, float]:
        raise BenchError("no")

    experiment = Experiment((RUN,), {"minirun": fails, "peer": _steady("run", 1.0)})
    (result,) = conduct(experiment, 1, lambda _: None)
    assert result.verdicts() == []
    assert next(report.lines(result))[0] == "peer"
    assert "left out" in report.table([result], HOST)


def test_a_failing_command_is_no_fast_result() -> None:
    with pytest.raises(BenchError, match="exit code 3: oh no"):
        time_ms(("sh", "-c", "echo oh no >&2; exit 3"))


def test_together_waits_for_the_last() -> None:
    assert together_ms([("sleep", "0.05"), ("true",)]) >= 50


def test_table_and_markdown_say_the_same() -> None:
    table, page = report.table([_result()], HOST), report.markdown([_result()], HOST)
    for cell in ("15.0", "0.30", "pass", "FAIL", "2026-01-31", "2 of 3 targets reached"):
        assert cell in table
        assert cell in page


def test_json_holds_every_sample() -> None:
    read = json.loads(report.to_json([_result()], HOST))
    assert read["results"][0]["samples"]["peer"] == [40.0, 40.0, 50.0]
    assert [verdict["passed"] for verdict in read["results"][0]["verdicts"]] == [True, True, False]


def test_chart_shows_theirs_as_multiples_of_ours() -> None:
    ((row, peer, ratio),) = chart.bars([_result()])
    assert (row, peer) == ("run", "peer")
    assert ratio.median == pytest.approx(1 / 0.3)
    assert ratio.p10 < ratio.median < ratio.p90


def test_spread_is_between_the_extremes() -> None:
    summary = stats.summarise([5.0, 1.0, 9.0])
    assert summary.p10 < summary.median < summary.p90 < summary.worst


def test_keepers_are_the_parent_and_its_other_children() -> None:
    """What if the container's own processes were counted as the shim's?"""
    script = "sleep 60 & echo $!; (sleep 60 & echo $!; wait) & wait"
    with subprocess.Popen(
        ("sh", "-c", script), stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as shim:
        assert shim.stdout is not None
        container, helper = int(shim.stdout.readline()), int(shim.stdout.readline())
        try:
            found = memory.keepers(container)
            assert {shim.pid, helper} <= set(found)
            assert container not in found
            assert memory.cost_mb(container)["memory-private"] > 0
        finally:
            os.killpg(shim.pid, 9)


@pytest.mark.requires("root", "busybox")
def test_lab_is_a_world_of_its_own_and_vanishes() -> None:
    code = (
        "import os, subprocess, sys\n"
        "from benchmarks.lab import inside\n"
        "def work(lab):\n"
        "    subprocess.Popen(('sleep', '1000'))\n"
        "    print(lab.top, os.getpid(), os.readlink('/proc/self/ns/net'), os.listdir('/run'))\n"
        "    return 7\n"
        "sys.exit(inside(work))\n"
    )
    done = subprocess.run(
        (sys.executable, "-c", code), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 7, done.stderr
    top, pid, network, run = done.stdout.split()
    assert (int(pid) < 10, run) == (True, "[]")
    assert network != str(Path("/proc/self/ns/net").readlink())
    assert not Path(top).exists()
