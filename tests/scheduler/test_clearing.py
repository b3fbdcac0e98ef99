"""What replicas leave, on real containers: listed until it is gone, whoever ends meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from minirun import ContainerRecord, MinirunError
from scheduler.engines.inside import Inside
from scheduler.engines.local import LocalRuntime
from scheduler.observed import Phase
from tests.scheduler.local_lab import PATIENCE_S, LocalLab, make_images, opened

pytestmark = pytest.mark.requires("root", "overlay", "seccomp", "busybox")
#: More than are removed at a time.
MANY = tuple(f"web.{number}" for number in range(1, 7))


@pytest.fixture(scope="module", autouse=True)
def _images(tmp_path_factory: pytest.TempPathFactory) -> None:
    make_images(tmp_path_factory.mktemp("images"))


@pytest.fixture
def lab() -> Iterator[LocalLab]:
    with opened(run=".clearing") as lab:
        yield lab


class Gate:
    """Lets no container be removed until it is opened."""

    def __init__(self, runtime: LocalRuntime, patch: pytest.MonkeyPatch) -> None:
        self._open = threading.Event()
        self._remove = runtime.containers.remove
        self.asked: list[str] = []
        patch.setattr(runtime.containers, "remove", self._wait)

    def _wait(self, record: ContainerRecord) -> bool:
        self.asked.append(record.name)
        assert self._open.wait(PATIENCE_S)
        return self._remove(record)

    def open(self) -> None:
        """Let them go."""
        self._open.set()


def ended(lab: LocalLab, *names: str) -> None:
    """Run replicas that end at once."""
    for name in names:
        lab.start(name, "sh", port=None, command=("echo", f"this was {name}"))
    for name in names:
        lab.ended(name)


def phases(lab: LocalLab) -> set[Phase]:
    return {seen.phase for seen in lab.runtime.replicas().values()}


def test_a_replica_is_listed_until_its_container_is_gone(
    lab: LocalLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(lab, "web.1")
    gate = Gate(lab.runtime, monkeypatch)
    lab.runtime.remove("web.1")
    lab.wait_until(lambda: bool(gate.asked))
    lab.runtime.remove("web.1")
    lab.runtime.stop("web.1", 0.0)
    lab.start("web.1")
    assert lab.seen().phase is Phase.REMOVING, "it neither goes back nor begins anew"
    lines = Inside(lab.runtime).logs("web.1", tail=None)
    assert [line.text for line in lines if line] == ["this was web.1"]
    assert gate.asked == ["web.1"]
    news = lab.news
    gate.open()
    lab.wait_until(lambda: lab.news > news)
    assert not lab.runtime.replicas()
    assert not lab.runtime.containers.all()


def test_a_start_does_not_wait_for_removals(lab: LocalLab, monkeypatch: pytest.MonkeyPatch) -> None:
    ended(lab, *MANY)
    gate = Gate(lab.runtime, monkeypatch)
    for name in MANY:
        lab.runtime.remove(name)
    lab.start("web.7")
    lab.ready("web.7")
    assert len(lab.runtime.replicas()) == len(MANY) + 1
    gate.open()


def test_removals_that_were_queued_are_finished_at_the_end(
    lab: LocalLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.engines.clearing.CLOSE_S", 10 * PATIENCE_S)
    ended(lab, *MANY)
    gate = Gate(lab.runtime, monkeypatch)
    for name in MANY:
        lab.runtime.remove(name)
    ending = threading.Thread(target=lab.runtime.close, daemon=True)
    ending.start()
    lab.wait_until(lambda: lab.runtime._closing)
    gate.open()
    ending.join(PATIENCE_S)
    assert not ending.is_alive(), "it ends as soon as the last one is gone"
    assert not lab.runtime.containers.all()
    lab.runtime = lab.another()
    lab.runtime.open()
    assert not lab.runtime.replicas()


def test_what_the_end_was_too_short_for_is_found_by_the_next(
    lab: LocalLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.engines.clearing.CLOSE_S", 0.0)
    ended(lab, *MANY)
    monkeypatch.setattr(lab.runtime.containers, "remove", lambda _record: False)  # a busy shim
    for name in MANY:
        lab.runtime.remove(name)
    lab.runtime.close()
    lab.runtime = lab.another()
    lab.runtime.open()
    assert phases(lab) == {Phase.EXITED}
    assert set(lab.runtime.replicas()) == set(MANY)


def test_a_removal_that_fails_is_told_of_and_tried_again(
    lab: LocalLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.engines.clearing.RETRY_S", 0.01)
    ended(lab, "web.1")
    tries: list[str] = []

    def fail(record: ContainerRecord) -> bool:
        tries.append(record.name)
        raise MinirunError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(lab.runtime.containers, "remove", fail)
        lab.runtime.remove("web.1")
        lab.wait_until(lambda: len(tries) > 1)
        assert lab.seen().phase is Phase.REMOVING
        assert lab.seen().problem == "cannot be removed: the disk is full"
    lab.wait_until(lambda: not lab.runtime.replicas())
    assert not lab.runtime.containers.all()


def test_one_that_was_given_up_and_runs_is_ended_first(
    lab: LocalLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What if the answer to a start was lost: it counts as failed, and its program runs."""

    def lose(*_: object) -> None:
        raise MinirunError("the answer was lost")

    monkeypatch.setattr(lab.runtime, "_runs", lose)
    lab.start()
    assert lab.ended().problem == "the answer was lost"
    [record] = lab.runtime.containers.all()
    assert record.state.status == "running"
    lab.runtime.remove("web.1")
    lab.wait_until(lambda: not lab.runtime.replicas())
    assert not lab.runtime.containers.all()


def test_somebody_else_may_remove_it_first(lab: LocalLab) -> None:
    ended(lab, "web.1")
    [record] = lab.runtime.containers.all()
    lab.wait_until(lambda: lab.runtime.containers.remove(record))
    lab.runtime.remove("web.1")
    lab.wait_until(lambda: not lab.runtime.replicas())
    assert not (lab.run / "replicas/web.1").exists()
