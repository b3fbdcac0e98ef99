"""What every test gets: folders of its own, features probed before use, and a leak witness."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from minirun import kernel
from minirun.flags import PR_SET_CHILD_SUBREAPER
from tests.features import FEATURES, claimed, missing
from tests.leaks import Witness

_EXPECTED_SKIP = pytest.StashKey[bool]()


def _in_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def _demanded() -> set[str]:
    """Return the features whose absence is a failure: MINIRUN_REQUIRE=userns,overlay."""
    return set(filter(None, os.environ.get("MINIRUN_REQUIRE", "").split(",")))


# ---- requires(...) ------------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a MINIRUN_REQUIRE that names no feature: a typo would demand nothing."""
    # A shell in the background passes on an ignored Ctrl-C, and so would we.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if unknown := _demanded() - FEATURES.keys():
        raise pytest.UsageError(f"MINIRUN_REQUIRE: no such feature: {', '.join(sorted(unknown))}")


def _required(item: pytest.Item) -> list[str]:
    return [name for mark in item.iter_markers("requires") for name in mark.args]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a marker that names no feature, before any test runs."""
    for item in items:
        if unknown := set(_required(item)) - FEATURES.keys():
            raise pytest.UsageError(f"{item.nodeid}: requires unknown feature {sorted(unknown)}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip where a named feature is missing; fail where the host or the user promised it."""
    for name in _required(item):
        if problem := missing(name):
            if name in _demanded() or (_in_ci() and claimed(name)):
                pytest.fail(f"required feature is missing: {problem}", pytrace=False)
            item.stash[_EXPECTED_SKIP] = True
            pytest.skip(f"missing feature: {problem}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn any other skip into a failure in CI: nothing is left out without a named feature.

    A test that finds out on its way names the feature too: skip("missing feature: ...").
    """
    report = yield
    skipped = report.skipped and not hasattr(report, "wasxfail")
    named = item.stash.get(_EXPECTED_SKIP, False) or "missing feature: " in str(report.longrepr)
    if skipped and _in_ci() and not named:
        report.outcome = "failed"
        report.longrepr = f"skipped in CI without a missing feature: {report.longrepr}"
    return report


# ---- folders and leaks --------------------------------------------------------------------------


@pytest.fixture(scope="session")
def data_root(_folders: Path) -> Path:
    """Return MINIRUN_DATA: images and other lasting data, shared by the whole test run."""
    return _folders / "data"


@pytest.fixture(scope="session")
def state_root(_folders: Path) -> Path:
    """Return MINIRUN_ROOT: the state of running containers; empty after every test."""
    return _folders / "run"


@pytest.fixture(scope="session", autouse=True)
def _folders() -> Iterator[Path]:
    """Give minirun folders that are ours alone, with short names: a socket path has 108 bytes."""
    top = Path(tempfile.mkdtemp(prefix="minirun-"))
    top.chmod(0o711)  # an unprivileged container's user passes through
    for name in ("run", "data"):
        (top / name).mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIRUN_ROOT", str(top / "run"))
        patch.setenv("MINIRUN_DATA", str(top / "data"))
        yield top
    shutil.rmtree(top)


@pytest.fixture(scope="session", autouse=True)
def _witness(_folders: Path) -> Iterator[Witness]:
    """Check the whole run: this catches what fixtures of a module or the session leave."""
    witness = Witness(_folders / "run", (_folders,))
    before = witness.all()
    yield witness
    witness.sweep_bridge()
    left = witness.left_since(before, everything=True)
    assert not left, "the test run leaked:\n  " + "\n  ".join(left)


@pytest.fixture(autouse=True)
def _no_leaks(request: pytest.FixtureRequest, _witness: Witness) -> Iterator[None]:
    """Check each test; one that asks for a feature of the host is checked against the host."""
    everything = request.node.get_closest_marker("requires") is not None
    # An exec in this process leaves it adopting orphans: the next test's would look like its own.
    kernel.prctl(PR_SET_CHILD_SUBREAPER, 0)
    before = _witness.all() if everything else _witness.near()
    yield
    left = _witness.left_since(before, everything=everything)
    assert not left, "this test leaked:\n  " + "\n  ".join(left)
