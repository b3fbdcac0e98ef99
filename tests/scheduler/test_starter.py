"""Containers of replicas, where somebody else has their names or their folders already."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from minirun import RunOptions
from scheduler.engines.container import names_of
from scheduler.engines.inside import Inside
from scheduler.model import Secret
from scheduler.observed import Phase
from tests.scheduler.local_lab import LocalLab, make_images, opened

pytestmark = pytest.mark.requires("root", "overlay", "seccomp", "busybox")


@pytest.fixture(scope="module", autouse=True)
def _images(tmp_path_factory: pytest.TempPathFactory) -> None:
    make_images(tmp_path_factory.mktemp("images"))


@pytest.fixture
def lab() -> Iterator[LocalLab]:
    with opened("0123456789abcdef") as lab:
        yield lab


@pytest.fixture
def other(lab: LocalLab) -> Iterator[LocalLab]:
    """Return a second scheduler of the same host, with other data."""
    with opened("fedcba9876543210", ".other") as other:
        yield other


def name_of(lab: LocalLab, replica_id: str = "web.1") -> str:
    """Return the name of a replica's container."""
    box = lab.runtime.box(replica_id)
    assert box is not None
    return lab.runtime.containers.read(box.container).name


def test_two_schedulers_run_replicas_of_the_same_name(lab: LocalLab, other: LocalLab) -> None:
    for one in (lab, other):
        one.start("web.1", "sh", port=None, command=("sh", "-c", f"echo {one.owner}; sleep 100"))
        one.running()
    assert name_of(lab) == "web.1"
    assert name_of(other) == "web.1-fedcba"
    other.runtime.stop("web.1", 0.0)
    other.ended()
    assert lab.seen().phase is Phase.RUNNING
    lines = Inside(other.runtime).logs("web.1", tail=None)
    assert [line.text for line in lines if line] == [other.owner]
    other.runtime.remove("web.1")
    other.wait_until(lambda: not other.runtime.replicas())
    assert [record.name for record in lab.runtime.containers.all()] == ["web.1"]


def test_the_next_scheduler_finds_it_by_its_label(lab: LocalLab, other: LocalLab) -> None:
    for one in (lab, other):
        one.start()
        one.ready()
    other.runtime.close()
    other.runtime = other.another()
    other.runtime.open()
    assert other.seen().ready_since is not None
    assert name_of(other) == "web.1-fedcba"
    done = Inside(other.runtime).execute("web.1", ("hostname",), 30)
    assert done.stdout == b"web-1\n"


def test_no_name_keeps_a_replica_from_running(lab: LocalLab) -> None:
    """What if a person has taken all names that could be told in advance?"""
    order = lab.start("app.1")
    foreign = [
        lab.runtime.containers.create(RunOptions(name=name.replace("app.1", "web.1")), "sh")
        for name in names_of(order, lab.owner)[:2]
    ]
    lab.start("web.1")
    lab.ready("web.1")
    assert name_of(lab).startswith("web.1-")
    assert name_of(lab) not in {record.name for record in foreign}
    for record in foreign:
        lab.runtime.containers.remove(record)


def test_a_folder_of_somebody_else_is_not_used(lab: LocalLab) -> None:
    """What if a container of a scheduler whose data is lost still has the folder?"""
    top = lab.run / "replicas/web.1"
    (top / "socket").mkdir(parents=True)
    (top / "secrets").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(top / "socket/http.sock"))
        before = (top / "secrets").stat().st_ino
        path = "/run/app/http.sock"
        lab.start("web.1", "sh", port=None, socket=path, secrets=(Secret("key"),))
        lab.running()
    assert not (top / "socket/http.sock").exists()
    assert (top / "secrets").stat().st_ino != before
