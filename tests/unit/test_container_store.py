"""Records, volumes and events on disk: atomic, unique by name, and robust against kill -9."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from minirun.container import names
from minirun.container.entry import ContainerRecord, State, from_json, to_json
from minirun.container.events import Event, EventLog
from minirun.container.files import Lock, replace_file, spread
from minirun.container.health import Health, Result
from minirun.container.readflags import Surroundings, from_flags
from minirun.container.store import Store
from minirun.container.volumes import VolumeStore
from minirun.errors import HostError, NotFoundError, StateError

FORK = multiprocessing.get_context("fork")


def record(name: str = "", created: str = "2026-01-01T00:00:00.000000000Z") -> ContainerRecord:
    flags = {
        "memory": "64m",
        "rm": True,
        "volume": ("/a:/b",),
        "label": ("k=v",),
        "entrypoint": "x",
    }
    options = from_flags(flags, ["true"], Surroundings({}, "/"))
    return ContainerRecord(names.new_id(), name, created, options=options)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "data"))


def test_record_survives_json() -> None:
    health = Health("healthy", 0, (Result("a", "b", 0, "ok"),))
    made = ContainerRecord(
        "0" * 64, "n", "now", args=("\udcff",), state=State(pid=7, health=health, oom_killed=True)
    )
    assert from_json(to_json(made), "f") == made
    assert from_json(to_json(record()), "f").options == record().options


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"id":1}', b"[" * 100_000])
def test_damaged_record_is_named(content: bytes) -> None:
    with pytest.raises(StateError, match=r"c\.json: damaged") as caught:
        from_json(content, "c.json")
    assert "rm -f" in caught.value.hint


def create(store: Store, wanted: ContainerRecord) -> ContainerRecord:
    made = store.claim(wanted)
    store.add(made)
    return made


def test_create_read_remove(store: Store) -> None:
    made = create(store, record("web"))
    assert store.read(made.id) == made
    assert store.find("web") == store.find(made.id[:12]) == store.find("/web") == made
    store.remove(made.id)
    assert store.all() == ()
    with pytest.raises(NotFoundError):
        store.find("web")
    assert os.listdir(f"{store.data}/names") == []


def test_create_makes_a_name(store: Store) -> None:
    assert "_" in create(store, record()).name


def test_second_container_of_a_name_is_refused_and_leaves_nothing(store: Store) -> None:
    first = create(store, record("web"))
    with pytest.raises(StateError, match="already in use") as caught:
        create(store, record("web"))
    assert first.id[:12] in caught.value.message
    assert store.ids() == (first.id,)


def _create(data: str, ready: object, results: object) -> None:
    ready.wait()  # type: ignore[attr-defined]
    try:
        results.put(create(Store(data), record("web")).id)  # type: ignore[attr-defined]
    except StateError:
        results.put("")  # type: ignore[attr-defined]


def test_of_racing_creates_exactly_one_wins(store: Store) -> None:
    ready, results = FORK.Barrier(6), FORK.Queue()
    workers = [FORK.Process(target=_create, args=(store.data, ready, results)) for _ in range(6)]
    for worker in workers:
        worker.start()
    winners = [found for _ in workers if (found := results.get(timeout=20))]
    for worker in workers:
        worker.join()
    assert winners == [store.find("web").id]
    assert store.ids() == tuple(winners)


def test_name_of_a_create_that_was_killed_is_taken_over(store: Store) -> None:
    """What if kill -9 came between taking the name and writing the record."""
    lost = names.new_id()
    os.makedirs(store.folder(lost))
    os.utime(store.folder(lost), (0, 0))
    os.makedirs(f"{store.data}/names")
    os.symlink(lost, f"{store.data}/names/web")
    assert create(store, record("web")).name == "web"


def test_sweep_removes_what_a_create_that_was_killed_has_left(store: Store) -> None:
    kept, lost, young = create(store, record("web")), store.claim(record("a")), record("b")
    store.claim(young)
    os.utime(store.folder(lost.id), (0, 0))
    assert store.sweep() == (lost.id,)
    assert set(store.ids()) == {kept.id, young.id}
    assert sorted(os.listdir(f"{store.data}/names")) == ["b", "web"]


def test_name_of_a_create_that_is_under_way_is_not_taken_over(store: Store) -> None:
    other = names.new_id()
    os.makedirs(store.folder(other))
    os.makedirs(f"{store.data}/names")
    os.symlink(other, f"{store.data}/names/web")
    with pytest.raises(StateError, match="in use"):
        create(store, record("web"))


def test_rename(store: Store) -> None:
    made, other = create(store, record("web")), create(store, record("db"))
    assert store.rename(made.id, "www").name == store.find("www").name == "www"
    with pytest.raises(NotFoundError):
        store.find("web")
    with pytest.raises(StateError, match="in use"):
        store.rename(made.id, "db")
    assert store.find("db") == other
    assert store.find("www").id == made.id


def _count(data: str, container_id: str) -> None:
    for _ in range(50):
        store = Store(data)
        store.update(container_id, _one_more)


def _one_more(held: ContainerRecord) -> ContainerRecord:
    from minirun.record import replace

    return replace(held, state=replace(held.state, restart_count=held.state.restart_count + 1))


def test_updates_of_two_processes_are_not_lost(store: Store) -> None:
    made = create(store, record("web"))
    workers = [FORK.Process(target=_count, args=(store.data, made.id)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert store.read(made.id).state.restart_count == 100


def test_update_of_a_removed_container(store: Store) -> None:
    made = create(store, record("web"))
    store.remove(made.id)
    with pytest.raises(NotFoundError):
        store.set_state(made.id, status="running")


def test_damaged_record_is_listed_as_dead_and_can_be_removed(store: Store) -> None:
    made, good = create(store, record("web")), create(store, record("db"))
    Path(store.folder(made.id), "container.json").write_bytes(b'{"id":')
    assert {r.id: r.state.status for r in store.all()} == {made.id: "dead", good.id: "created"}
    with pytest.raises(StateError, match="damaged"):
        store.find("web")
    store.remove(store.resolve("web"))
    assert store.ids() == (good.id,)
    assert create(store, record("web")).name == "web"


def test_remove_twice_is_no_error(store: Store) -> None:
    made = create(store, record("web"))
    store.remove(made.id)
    store.remove(made.id)


def test_listing_is_newest_first_and_fast(store: Store) -> None:
    for number in range(200):
        create(store, record(created=f"2026-01-01T00:00:{number % 60:02}.{number:09}Z"))
    store.all()
    start = time.perf_counter()
    found = store.all()
    took = time.perf_counter() - start
    assert [r.created for r in found] == sorted((r.created for r in found), reverse=True)
    # Some 30 ms on the slowest machine it was measured on; a quadratic listing takes seconds.
    assert took < 1


def test_failed_replacement_keeps_the_old_file(tmp_path: Path) -> None:
    folder = tmp_path / "missing"
    with pytest.raises(HostError, match="No such file"):
        replace_file(str(folder / "f"), b"x", durable=False)
    target = tmp_path / "f"
    replace_file(str(target), b"one", durable=True)
    replace_file(str(target), b"two", durable=False)
    assert target.read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["f"]


def test_full_disk_is_an_error_with_a_hint() -> None:
    """/dev/full answers every write with ENOSPC, as a full disk does."""
    from minirun.container.files import host_error, write_all

    fd = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(OSError, match="No space") as caught:
            write_all(fd, b"x")
    finally:
        os.close(fd)
    assert "disk space" in host_error(caught.value, "/dev/full").hint


def _wait_for_waiter(inode: int) -> None:
    """Wait until someone waits for the lock: /proc/locks marks a waiter with an arrow."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        lines = Path("/proc/locks").read_text().splitlines()
        if any("->" in line and f":{inode} " in line for line in lines):
            return
    pytest.fail("nobody waits for the lock")


def test_lock_of_a_removed_file_is_not_enough(tmp_path: Path) -> None:
    """What if a container is removed, and made again, while someone waits for its lock."""
    path = tmp_path / "lock"
    named: list[bool] = []

    def wait() -> None:
        with Lock(str(path)):
            named.append(path.exists())

    waiter = threading.Thread(target=wait)
    with Lock(str(path)):
        inode = path.stat().st_ino
        waiter.start()
        _wait_for_waiter(inode)
        path.unlink()
    waiter.join(10)
    assert named == [True]


# ---- volumes ------------------------------------------------------------------------------------


def test_volume_is_made_once_and_fresh_until_settled(tmp_path: Path) -> None:
    store = VolumeStore(str(tmp_path))
    made = store.ensure("db", {"a": "b"})
    assert (made.fresh, made.anonymous) == (True, False)
    store.settle("db")
    assert not store.ensure("db").fresh
    assert store.get("db").labels == {"a": "b"}
    assert os.listdir(store.path("db")) == []


def test_volume_in_use_is_not_removed(tmp_path: Path) -> None:
    store = VolumeStore(str(tmp_path))
    name = store.ensure().name
    assert store.get(name).anonymous
    with pytest.raises(StateError, match="in use"):
        store.remove(name, [names.new_id()])
    store.remove(name)
    assert store.all() == ()
    with pytest.raises(StateError, match="no such volume"):
        store.remove(name)


@pytest.mark.parametrize("name", ["../x", "/etc", "..", "a/b", ""])
def test_volume_names_cannot_leave_the_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(Exception, match="invalid volume name"):
        VolumeStore(str(tmp_path)).path(name)


# ---- events -------------------------------------------------------------------------------------


def test_events_are_read_back_and_rotated(tmp_path: Path) -> None:
    log = EventLog(str(tmp_path), max_bytes=2000)
    for number in range(20):
        log.append(Event("container", "start", f"id{number:02}", {"name": "web"}))
    assert (tmp_path / "events.jsonl.1").exists()
    found = list(log.read())
    assert [event.id for event in found] == [f"id{n:02}" for n in range(20)][-len(found) :]
    assert found[0].attributes == {"name": "web"}
    assert list(log.read(since=found[3].time, until=found[5].time)) == found[3:6]


def test_torn_event_is_skipped(tmp_path: Path) -> None:
    log = EventLog(str(tmp_path))
    log.append(Event("container", "die", "a"))
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b'{"type":"con\n')
    log.append(Event("container", "start", "b"))
    assert [event.id for event in log.read()] == ["a", "b"]


def test_events_are_followed(tmp_path: Path) -> None:
    log = EventLog(str(tmp_path))
    log.append(Event("container", "create", "a"))
    stream = log.follow()
    assert next(stream).id == "a"
    log.append(Event("container", "start", "b"))
    assert next(stream).id == "b"
    stream.close()  # type: ignore[attr-defined]


def test_containers_are_spread_over_the_disk(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    create(store, record("web"))
    shown = subprocess.run(
        ("lsattr", "-d", f"{store.data}/containers"), capture_output=True, text=True, check=False
    )
    # Where the file system has no flags, lsattr fails, and making the container did not.
    assert shown.returncode or "T" in shown.stdout.split()[0]


def test_a_file_system_without_flags_is_none_the_worse() -> None:
    spread("/dev/shm")  # tmpfs has other flags, and refuses this one
    spread("/proc")  # none at all
