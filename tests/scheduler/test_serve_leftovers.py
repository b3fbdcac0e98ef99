"""``minisched serve`` among what others have left, and what it leaves itself when it is ended."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from scheduler.store import Store
from tests.scheduler import serve_lab
from tests.scheduler.serve_lab import SERVER, Lab, wait_until

pytestmark = pytest.mark.requires("root", "overlay", "cgroups", "busybox")
#: What takes some time to be removed: thousands of files.
MUCH = f"i=0; while [ $i -lt 4000 ]; do : > /www/$i; i=$((i+1)); done; exec {' '.join(SERVER)}"


@pytest.fixture
def lab(tiny: Path) -> Iterator[Lab]:
    with serve_lab.lab(tiny) as made:
        made.start()
        yield made


def kinds(lab: Lab) -> list[str]:
    return [event["kind"] for event in lab.client.events(deployment="web", limit=1000)]


def running(lab: Lab) -> int:
    return len(lab.minirun("ps", "-q").split())


def test_a_deletion_that_is_told_has_left_no_container(lab: Lab) -> None:
    lab.deploy("web", 6, command=["sh", "-c", MUCH])
    lab.wait_running("web", 6)
    lab.client.delete("web")
    wait_until(lambda: "deleted" in kinds(lab), "the deletion is told", lab.told)
    assert lab.containers() == set()


def test_sigterm_in_the_middle_of_a_deletion_leaves_it_to_the_next(lab: Lab) -> None:
    lab.deploy("web", 6, command=["sh", "-c", MUCH])
    lab.wait_running("web", 6)
    lab.client.delete("web")
    wait_until(lambda: running(lab) < 6, "removals have begun", lab.told)
    assert lab.stop() == 0
    with closing(Store.open(lab.top / "data")) as store:
        assert "web" in store.load().entries or not lab.containers()
    lab.start()
    wait_until(lambda: "deleted" in kinds(lab), "the deletion is told", lab.told)
    assert lab.containers() == set()
    assert kinds(lab).count("deleted") == 1


def test_lost_data_keeps_no_name_from_being_used_again(lab: Lab) -> None:
    """What if somebody deletes the data of a scheduler whose replicas still run?"""
    lab.deploy("web", 2)
    lab.wait_running("web", 2)
    lab.kill()
    shutil.rmtree(lab.top / "data")
    lab.start()
    lab.deploy("web", 2)
    lab.wait_running("web", 2)
    assert lab.ask("web") == 200
    assert not {"exited", "ended", "effect-failed"} & set(kinds(lab)), "none was put off"
    ours = sorted(lab.containers() - {"web.1", "web.2"})
    assert [re.sub("-[0-9a-f]{6}$", "", name) for name in ours] == ["web.1", "web.2"]
    found = lab.minirun("ps", "--filter", "label=minisched.deployment=web", "-q").split()
    assert len(found) == 4
    lab.delete("web")
    assert lab.containers() == {"web.1", "web.2"}, "what is not ours stays"
    lab.minirun("rm", "-f", "web.1", "web.2")
