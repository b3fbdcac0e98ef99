"""README's second example, told to the end by the files it names."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scheduler import serve_lab
from tests.scheduler.serve_lab import ROOT, Lab, wait_until

COMPOSE = str(ROOT / "examples/digits/compose.yaml")
CLIENT = str(ROOT / "examples/digits/client.py")


@pytest.fixture
def lab(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """Return a scheduler's lab with the image digits."""
    monkeypatch.setenv("PORT", str(serve_lab.free_port()))
    with serve_lab.lab(data_root) as made:
        made.minirun("build", "-q", "-t", "digits", str(ROOT / "images/digits"))
        made.start()
        yield made


@pytest.mark.requires("root", "overlay", "cgroups", "busybox")
def test_story_of_three_replicas_behind_one_address(lab: Lab) -> None:
    said = lab("apply", "-f", COMPOSE, "--wait")
    assert "digits created" in said
    assert "3 of 3 updated, 3 ready" in said
    _balances(lab)
    _heals(lab)
    _scales_out(lab)
    _rolls_back(lab)
    _sleeps_and_wakes(lab)


def _ask() -> str:
    """Ask for the model's description; return it."""
    address = f"http://127.0.0.1:{os.environ['PORT']}"
    done = subprocess.run(
        ["curl", "-fsS", "--noproxy", "*", "--max-time", "60", f"{address}/v2/models/digits"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def _cpu_times(lab: Lab) -> dict[str, float]:
    rows = lab.client.replicas("digits")
    return {row["id"]: row["usage"]["cpu_s"] for row in rows if row["usage"]}


def _load(lab: Lab, *arguments: str) -> str:
    """Run the example's client; return what it printed."""
    done = subprocess.run(
        [sys.executable, CLIENT, f"http://127.0.0.1:{os.environ['PORT']}", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **lab.environment, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert "answers: {'0': " in done.stdout
    return done.stdout


def _balances(lab: Lab) -> None:
    before = _cpu_times(lab)
    assert len(before) == 3
    _load(lab, "--seconds", "3", "--clients", "3")
    after = _cpu_times(lab)
    assert all(after[replica] > before[replica] for replica in before), "each has had some"


def _heals(lab: Lab) -> None:
    before = set(_cpu_times(lab))
    lab.minirun("kill", min(before))
    wait_until(
        lambda: min(before) not in (now := set(_cpu_times(lab))) and len(now) >= 3,
        "another takes its place", lab.told,
    )  # fmt: skip
    assert _ask()


def _scales_out(lab: Lab) -> None:
    assert "scaled: 3 to " in _load(lab, "--seconds", "8")


def _rolls_back(lab: Lab) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    before = lab.client.deployment("digits")["status"]["revision"]
    bad = {"IMAGE": f"minirun/python:{version}", "DEADLINE": "6s"}
    said = lab("apply", "-f", COMPOSE, "--wait", check=False, environment=bad)
    assert f"was rolled back to {before}" in said
    assert _ask()


def _sleeps_and_wakes(lab: Lab) -> None:
    # No stabilisation: on a busy machine the model starts so slowly that it would last for minutes.
    quick = {"STABLE_WINDOW": "6s", "STABILIZATION": "0s", "ZERO_GRACE": "1s"}
    lab("apply", "-f", COMPOSE, environment=quick)
    wait_until(lambda: not lab.client.replicas("digits"), "none is left", lab.told)
    assert '"name":"digits"' in _ask().replace(" ", "")
    assert lab.client.deployment("digits")["status"]["ready"] >= 1
