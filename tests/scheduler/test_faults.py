"""What must hold when things die, hang or run out: with real processes, and requests all the while.

The oracle of each: no request is lost beyond those in flight in what was killed, what is wanted is
there again, nothing is there twice, and (by the leak witness of every test) nothing is left.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.client import ApiError
from tests.scheduler import serve_lab
from tests.scheduler.serve_lab import Lab, Load, kill_9, processes_of, wait_until

pytestmark = pytest.mark.requires("root", "overlay", "cgroups", "busybox")


@pytest.fixture(scope="module")
def server(tiny: Path) -> Iterator[Lab]:
    """Return a scheduler that has run a replica once: its bridge and its folders are there."""
    with serve_lab.lab(tiny) as made:
        made.start()
        made.run_once()
        yield made


@pytest.fixture
def lab(server: Lab) -> Iterator[Lab]:
    """Return the scheduler, without a deployment before the test and after it."""
    yield server
    server.delete_all()


@pytest.fixture
def mortal(tiny: Path) -> Iterator[Lab]:
    """Return a scheduler of the test's own, which it may kill."""
    with serve_lab.lab(tiny) as made:
        made.start()
        yield made


def pid_of(lab: Lab, replica: str) -> int:
    """Return the process that a replica's container began with."""
    return int(lab.minirun("inspect", "--format", "{{.State.Pid}}", replica).strip())


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def ids(lab: Lab, name: str = "web") -> set[str]:
    return {row["id"] for row in lab.client.replicas(name)}


def one(pids: list[int]) -> int:
    assert len(pids) == 1, pids
    return pids[0]


# ── something is killed ───────────────────────────────────────────────────────────────────────


def test_a_killed_controller_costs_no_request_and_adopts_what_runs(mortal: Lab) -> None:
    lab = mortal
    lab.deploy("web", 3)
    lab.wait_running("web", 3)
    before = {replica: pid_of(lab, replica) for replica in ids(lab)}
    with Load(lab, "web") as load:
        load.wait_for(20)
        lab.kill()
        load.wait_for(50)
        lab.start()
        load.wait_for(20)
    assert not load.failed
    lab.wait_running("web", 3)
    assert {replica: pid_of(lab, replica) for replica in ids(lab)} == before


def test_a_killed_replica_is_replaced_and_costs_what_it_was_answering(lab: Lab) -> None:
    lab.deploy("web", 2)
    lab.wait_running("web", 2)
    before = ids(lab)
    with Load(lab, "web", clients=4) as load:
        load.wait_for(20)
        kill_9(pid_of(lab, min(before)))
        wait_until(lambda: ids(lab) != before, "the killed one is replaced", lab.told)
        lab.wait_running("web", 2)
        load.wait_for(20)
    assert sum(load.failed.values()) <= 4, load.failed


def test_a_killed_proxy_is_restored_with_all_it_knew(lab: Lab) -> None:
    lab.deploy("web", 2)
    lab.wait_running("web", 2)
    before, old = ids(lab), one(lab.proxies())
    with Load(lab, "web", clients=4) as load:
        load.wait_for(20)
        kill_9(old)
        wait_until(lambda: lab.proxies() not in ([], [old]), "there is a proxy again", lab.log)
        load.wait_for(50)
    assert sum(load.failed.values()) <= 4, load.failed
    assert ids(lab) == before, "a proxy's death is no reason to touch a replica"
    one(lab.proxies())


def test_a_killed_launcher_is_replaced_and_costs_nothing(lab: Lab) -> None:
    lab.deploy("web", 1)
    lab.wait_running("web", 1)
    with Load(lab, "web") as load:
        for pid in processes_of(lab.top, "launcher"):
            kill_9(pid)
        lab.client.scale("web", 3)
        lab.wait_running("web", 3)
    assert not load.failed


def test_a_killed_shim_costs_nothing(lab: Lab) -> None:
    """Every shim has a standby, so the replica is not even noticed to have been in danger."""
    lab.deploy("web", 1)
    lab.wait_running("web", 1)
    init = pid_of(lab, min(ids(lab)))
    with Load(lab, "web") as load:
        kill_9(parent_of(init))
        load.wait_for(50)
    assert not load.failed
    before = ids(lab)
    kill_9(init)
    wait_until(lambda: ids(lab) and not ids(lab) & before, "its end is seen", lab.told)
    lab.wait_running("web", 1)


def test_everything_killed_at_once_comes_back(mortal: Lab) -> None:
    lab = mortal
    lab.deploy("web", 2)
    lab.wait_running("web", 2)
    before = {pid_of(lab, replica) for replica in ids(lab)}
    lab.kill()
    for pid in (*lab.proxies(), *processes_of(lab.top, "launcher"), *before):
        kill_9(pid)
    lab.start()
    lab.wait_running("web", 2)
    wait_until(lambda: lab.ask("web") == 200, "it answers again", lab.told)
    assert not {pid_of(lab, replica) for replica in ids(lab)} & before


# ── something hangs ───────────────────────────────────────────────────────────────────────────


def test_a_stopped_replica_is_left_out_and_replaced(lab: Lab) -> None:
    probe = {"http": {"path": "/"}, "period_s": 0.2, "timeout_s": 0.5, "failure_threshold": 2}
    timeouts = {"drain_s": 0.5, "stop_s": 0.5}
    lab.deploy("web", 2, probes={"readiness": probe, "liveness": probe}, timeouts=timeouts)
    lab.wait_running("web", 2)
    before, init = ids(lab), pid_of(lab, min(ids(lab)))
    os.kill(init, signal.SIGSTOP)
    wait_until(lambda: min(before) not in ids(lab), "it is replaced", lab.told)
    lab.wait_running("web", 2)
    with Load(lab, "web") as load:
        load.wait_for(50)
    assert not load.failed


# ── something runs out ────────────────────────────────────────────────────────────────────────


def test_an_oom_storm_stays_with_those_who_eat(lab: Lab) -> None:
    lab.deploy("web", 1)
    lab.wait_running("web", 1)
    eat = ["sh", "-c", "exec dd if=/dev/zero of=/dev/null bs=64M"]
    limits = {"limits": {"memory_bytes": 16 << 20}}
    with Load(lab, "web") as load:
        lab.deploy("eaters", 4, command=eat, resources=limits, probes={})
        wait_until(
            lambda: any("memory" in row["reason"] for row in lab.client.replicas("eaters")),
            "the reason is told", lab.told,
        )  # fmt: skip
        load.wait_for(50)
        lab.delete("eaters")
    assert not load.failed


def test_a_full_disk_refuses_writes_and_nothing_else(tiny: Path) -> None:
    with serve_lab.lab(tiny) as full:
        data = full.top / "data"
        data.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", data], check=True)
        full.start()
        full.deploy("web", 1)
        full.wait_running("web", 1)
        with Load(full, "web") as load:
            filler = data / "filler"
            subprocess.run(["dd", "if=/dev/zero", f"of={filler}"], check=False, capture_output=True)
            assert _status_of_writes(full) == 507
            load.wait_for(50)
            filler.unlink()
            wait_until(lambda: _status_of_writes(full) == 200, "it heals", full.log)
        assert not load.failed
        full.wait_running("web", 2)


def _status_of_writes(lab: Lab) -> int:
    """Return what the API answers to writes: a full disk may take a few small ones more."""
    for replicas in (1, 2) * 20:
        try:
            lab.client.scale("web", replicas)
        except ApiError as error:
            return error.status
    return 200


# ── nothing is wrong, but a lot of it ─────────────────────────────────────────────────────────


def test_churn_ends_where_it_should(lab: Lab) -> None:
    rounds = int(os.environ.get("MINIRUN_CHURN", "4"))
    lab.deploy("web", 2)
    lab.wait_running("web", 2)
    with Load(lab, "web") as load:
        for _ in range(rounds):
            for count in (5, 1, 4, 2):
                lab.client.scale("web", count)
                lab.wait_ready_replicas("web", count)
        lab.wait_running("web", 2)
    assert not load.failed
    wait_until(lambda: lab.containers() == ids(lab), "none is left over", lab.told)
