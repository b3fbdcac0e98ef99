"""The state of record: durable, whole, and never the loser of a race."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from minirun import ScheduleError
from scheduler import apply
from scheduler.actions import Event
from scheduler.entry import Desired, Entry
from scheduler.model import Deployment, Quota, Template
from scheduler.store import Change, Scope, Store, StoredEvent

SMALL = Deployment("web", Template("good", port=80))


class Clock:
    def __init__(self) -> None:
        self.unix_s = 1_750_000_000.0

    def __call__(self) -> float:
        return self.unix_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    opened = Store.open(tmp_path / "state", unix=clock, keep_events=100)
    yield opened
    opened.close()


def put(store: Store, deployment: Deployment = SMALL, **options: int) -> int:
    """Create or change a deployment as the API does; return its generation."""
    name = deployment.name

    def decide(desired: Desired) -> Change:
        before = desired.entries.get(name)
        if before is None:
            entry = apply.created(deployment, 1.0, first_serial=store.next_serial(name))
        else:
            entry = apply.applied(before, deployment, 2.0)
        return Change({name: entry}, events=(Event(name, "applied", "by a test"),))

    return store.transact(decide, if_match=options or None)[name]


def raised(action: Callable[[], object]) -> ScheduleError:
    with pytest.raises(ScheduleError) as caught:
        action()
    return caught.value


def scaled(replicas: int) -> Deployment:
    return replace(SMALL, replicas=replicas)


# ---- what is wanted -----------------------------------------------------------------------------


def test_an_entry_outlives_the_store(store: Store, tmp_path: Path) -> None:
    put(store)
    store.transact(lambda _: Change(quotas={"team": Quota("team", replicas=3)}))
    before = store.load()
    store.close()
    again = Store.open(tmp_path / "state")
    assert again.load() == before
    assert again.generation("web") == 1
    again.close()


def test_a_snapshot_does_not_change_in_the_hand(store: Store) -> None:
    put(store)
    seen = store.load()
    put(store, scaled(7))
    assert seen.entries["web"].deployment.replicas == 1
    assert store.load().entries["web"].deployment.replicas == 7


def test_the_generation_counts_wishes_and_not_decisions(store: Store) -> None:
    assert store.generation("web") == 0
    assert put(store) == 1
    entry = store.load().entries["web"]
    store.commit({"web": replace(entry, decided_at=5.0)}, ())
    assert store.generation("web") == 1
    # A rollback by itself is another deployment than the one that a person has read.
    store.commit({"web": replace(entry, deployment=scaled(9))}, ())
    assert store.generation("web") == 2
    assert put(store, scaled(3)) == 3


def test_a_stale_wish_is_refused(store: Store) -> None:
    put(store, web=0)
    put(store, scaled(2), web=1)
    assert raised(lambda: put(store, scaled(3), web=1)).status == 412
    assert raised(lambda: put(store, web=0)).status == 412
    assert store.load().entries["web"].deployment.replicas == 2


def test_a_deleted_name_comes_back_with_new_serials(store: Store, tmp_path: Path) -> None:
    put(store)
    entry = replace(store.load().entries["web"], next_serial=41)
    store.commit({"web": entry}, ())
    store.commit({"web": None}, ())
    assert "web" not in store.load().entries
    assert (store.generation("web"), store.next_serial("web")) == (0, 41)
    store.close()
    again = Store.open(tmp_path / "state")
    assert put(again) == 2
    assert again.load().entries["web"].next_serial == 41
    again.close()


def test_a_decision_on_what_a_person_has_changed_is_refused(store: Store) -> None:
    put(store)
    seen = store.load()
    decided = replace(seen.entries["web"], decided_at=3.0)
    put(store, scaled(5))
    error = raised(lambda: store.commit({"web": decided}, (Event("web", "x", "y"),), seen))
    assert error.status == 409
    assert store.load().entries["web"].deployment.replicas == 5
    assert [event.kind for event in store.events()] == ["applied", "applied"]
    # What somebody else changed beside it does not matter.
    seen = store.load()
    put(store, replace(SMALL, name="other"))
    store.commit({"web": replace(seen.entries["web"], decided_at=4.0)}, (), seen)


def test_what_decide_raises_writes_nothing(store: Store) -> None:
    def decide(_: Desired) -> Change:
        raise ScheduleError("no", status=422)

    assert raised(lambda: store.transact(decide)).status == 422
    assert store.last_sequence() == 0
    put(store)


def test_a_listener_hears_of_wishes_and_not_of_decisions(store: Store) -> None:
    heard: list[int] = []
    store.on_change(lambda: heard.append(store.generation("web")))
    put(store)
    entry = store.load().entries["web"]
    store.commit({"web": replace(entry, decided_at=1.0)}, ())
    store.set_cordoned(True)
    assert heard == [1, 1]
    assert store.cordoned()


def test_writers_in_many_threads_lose_nothing(store: Store) -> None:
    put(store)

    def count(_: int) -> None:
        for _turn in range(10):
            store.transact(lambda desired: Change({"web": _one_more(desired.entries["web"])}))

    threads = [Thread(target=count, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert store.load().entries["web"].deployment.replicas == 51
    assert store.generation("web") == 51


def _one_more(entry: Entry) -> Entry:
    return replace(entry, deployment=scaled(entry.deployment.replicas + 1))


# ---- events -------------------------------------------------------------------------------------


def tell(store: Store, *messages: str, deployment: str = "web") -> None:
    store.commit({}, tuple(Event(deployment, "told", text, {"n": 1}) for text in messages))


def test_events_are_numbered_and_filtered(store: Store, clock: Clock) -> None:
    tell(store, "a", "b")
    tell(store, "c", deployment="other")
    assert [(e.sequence, e.message) for e in store.events(after=0)] == [
        (1, "a"),
        (2, "b"),
        (3, "c"),
    ]
    assert [e.message for e in store.events(after=1, limit=1)] == ["b"]
    assert [e.message for e in store.events(deployment="other")] == ["c"]
    assert [e.message for e in store.events(limit=2)] == ["b", "c"]
    first = store.events(after=0)[0]
    assert (first.unix_s, first.inputs) == (clock.unix_s, {"n": 1})


def test_an_event_is_told_when_what_it_tells_of_can_be_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What if somebody looks between the commit and the moment when memory has taken it over."""
    remember = store._entries.remember
    seen: list[tuple[tuple[StoredEvent, ...], tuple[StoredEvent, ...], int]] = []

    def look_before(*change: Any) -> None:  # noqa: ANN401 - whatever is remembered
        seen.append((store.events(), store.events(after=0), store.last_sequence()))
        remember(*change)

    monkeypatch.setattr(store._entries, "remember", look_before)
    tell(store, "a")
    tell(store, "b")
    assert [[e.message for e in latest] for latest, _, _ in seen] == [[], ["a"]]
    assert [[e.message for e in since] for _, since, _ in seen] == [[], ["a"]]
    assert [e.message for e in store.events(after=1)] == ["b"]


def test_what_was_noted_last_is_what_is_on_the_disk(store: Store, tmp_path: Path) -> None:
    """What if two people cordon and uncordon at once: memory may not say what the disk does not."""
    second = Thread(target=lambda: store.set_fact("cordoned", "no"))

    class Late(dict[str, str]):
        """Takes the first value over when the second had its chance to be faster."""

        def __setitem__(self, name: str, value: str) -> None:
            if value == "yes":
                second.start()
                second.join(0.2)
            super().__setitem__(name, value)

    store._facts = Late()
    store.set_fact("cordoned", "yes")
    second.join()
    said = store.fact("cordoned")
    store.close()
    with closing(Store.open(tmp_path / "state")) as again:
        assert again.fact("cordoned") == said == "no"


def test_a_reader_who_comes_too_late_is_told(store: Store) -> None:
    for number in range(150):
        tell(store, str(number))
    assert raised(lambda: store.events(after=5)).status == 410
    assert raised(lambda: store.events(after=500)).status == 410
    kept = store.events(after=store.last_sequence() - 100, limit=1000)
    assert [e.message for e in kept][-1] == "149"
    assert len(kept) == 100


def test_numbers_go_on_after_a_restart(store: Store, tmp_path: Path) -> None:
    tell(store, "a")
    store.close()
    again = Store.open(tmp_path / "state")
    tell(again, "b")
    assert [e.sequence for e in again.events(after=1)] == [2]
    again.close()


def test_a_watcher_misses_nothing(store: Store) -> None:
    """What if events come while it reads: it asks for what is later than what it has."""
    seen: list[str] = []

    def watch() -> None:
        last = 0
        while len(seen) < 60 and store.wait_for_events(last, 30):
            for event in store.events(after=last, limit=7):
                seen.append(event.message)
                last = event.sequence

    watcher = Thread(target=watch)
    watcher.start()
    for number in range(30):
        tell(store, f"{number}.0", f"{number}.1")
    watcher.join(60)
    assert seen == [f"{number}.{half}" for number in range(30) for half in range(2)]


def test_closing_sends_watchers_away(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "state")
    watcher = Thread(target=lambda: store.wait_for_events(0, 60))
    watcher.start()
    store.close()
    watcher.join(30)
    assert not watcher.is_alive()


# ---- secrets and tokens -------------------------------------------------------------------------


def test_a_secret_is_given_out_by_name_only(store: Store, clock: Clock) -> None:
    store.put_secret("key", b"old")
    clock.unix_s += 5
    info = store.put_secret("key", b"newer\0")
    assert store.secrets() == (info,)
    assert (info.size, info.updated_unix_s - info.created_unix_s) == (6, 5)
    assert "newer" not in repr(store.secrets())
    assert store.secret_value("key") == b"newer\0"
    store.remove_secret("key", lambda _: None)
    assert raised(lambda: store.secret_value("key")).status == 404
    assert raised(lambda: store.remove_secret("key", lambda _: None)).status == 404


def test_nobody_else_can_read_the_files(store: Store, tmp_path: Path) -> None:
    store.put_secret("key", b"value")
    folder = tmp_path / "state"
    modes = {f.name: stat.S_IMODE(f.stat().st_mode) for f in (folder, *folder.iterdir())}
    assert modes == {
        "state": 0o700,
        "lock": 0o600,
        "store.db": 0o600,
        "store.db-wal": 0o600,
        "store.db-shm": 0o600,
    }


def test_a_removed_secret_is_not_left_in_the_file(store: Store, tmp_path: Path) -> None:
    store.put_secret("key", b"a-secret-that-is-removed")
    store.remove_secret("key", lambda _: None)
    store.close()  # which moves the log into the file
    files = [f.read_bytes() for f in (tmp_path / "state").iterdir()]
    assert not any(b"a-secret-that-is-removed" in content for content in files)


def test_a_token_is_known_by_its_hash(store: Store, tmp_path: Path, clock: Clock) -> None:
    text = store.create_token("ci", Scope.DEPLOY)
    assert raised(lambda: store.create_token("ci", Scope.READ)).status == 409
    clock.unix_s += 5
    info = store.check_token(text)
    assert info is not None
    assert (info.name, info.scope, info.used_unix_s) == ("ci", Scope.DEPLOY, clock.unix_s)
    for wrong in ("", text[:-1], text + "x", "mrs_\udcff"):
        assert store.check_token(wrong) is None
    store.close()
    files = [f.read_bytes() for f in (tmp_path / "state").iterdir()]
    assert not any(text.encode() in content for content in files)
    again = Store.open(tmp_path / "state")
    assert again.tokens() == (info,)
    again.remove_token("ci")
    assert again.check_token(text) is None
    assert raised(lambda: again.remove_token("ci")).status == 404
    again.close()


# ---- what may befall the file -------------------------------------------------------------------


def test_a_second_scheduler_is_refused(store: Store, tmp_path: Path) -> None:
    code = (
        "import sys; from scheduler.store import Store; from minirun import ScheduleError\n"
        "try: Store.open(sys.argv[1])\n"
        "except ScheduleError as error: print(error.status, error)"
    )
    argv = [sys.executable, "-c", code, str(tmp_path / "state")]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("409 another scheduler uses")
    assert put(store) == 1


def test_whatever_was_acknowledged_is_in_any_later_copy(store: Store, tmp_path: Path) -> None:
    """What if the power goes: each copy of the files is what a disk may hold at that moment."""
    state = tmp_path / "state"
    for number in range(1, 25):
        put(store, scaled(number))
        copy = tmp_path / f"copy{number}"
        copy.mkdir()
        for name in ("store.db", "store.db-wal"):
            shutil.copy(state / name, copy / name)
    for number in range(1, 25):
        again = Store.open(tmp_path / f"copy{number}")
        assert again.load().entries["web"].deployment.replicas == number
        assert again.last_sequence() == number
        again.close()


def test_half_a_transaction_was_never_there(store: Store, tmp_path: Path) -> None:
    """What if the power goes in the middle of a write: the log ends anywhere."""
    state = tmp_path / "state"
    for number in range(1, 5):
        put(store, scaled(number))
    log = (state / "store.db-wal").read_bytes()
    for cut in range(32, len(log), len(log) // 40):
        copy = tmp_path / f"cut{cut}"
        copy.mkdir()
        shutil.copy(state / "store.db", copy / "store.db")
        (copy / "store.db-wal").write_bytes(log[:cut])
        again = Store.open(copy)
        entry = again.load().entries.get("web")
        assert (entry.deployment.replicas if entry else 0) == again.last_sequence()
        again.close()


def test_a_killed_writer_loses_nothing_acknowledged(tmp_path: Path) -> None:
    code = (
        "import sys; from tests.scheduler.test_store import put, scaled, Store\n"
        "store = Store.open(sys.argv[1])\n"
        "for n in range(1, 10000): print(put(store, scaled(n)), flush=True)"
    )
    argv = [sys.executable, "-c", code, str(tmp_path / "state")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for _ in range(10):
            acknowledged = int(writer.stdout.readline())
        writer.kill()
        rest = writer.stdout.read().split("\n")
    acknowledged = max([acknowledged, *map(int, filter(None, rest[:-1]))])
    again = Store.open(tmp_path / "state")
    assert again.generation("web") >= acknowledged
    again.close()


@pytest.mark.requires("root")
def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "minirun-test", str(disk)]
    subprocess.run(mount, check=True)
    try:
        store = Store.open(disk)
        put(store)
        ballast = disk / "ballast"
        subprocess.run(["dd", "if=/dev/zero", f"of={ballast}"], check=False, capture_output=True)
        seen = store.load()
        big = replace(SMALL, labels={str(n): "x" * 100 for n in range(500)})
        assert raised(lambda: put(store, big)).status == 507
        assert raised(lambda: store.put_secret("key", b"x" * 100_000)).status == 507
        assert store.load() is seen
        ballast.unlink()
        assert put(store, big) == 2
        store.close()
        again = Store.open(disk)
        assert again.load().entries["web"].deployment == big
        again.close()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_database_of_a_later_version_is_refused(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    with sqlite3.connect(tmp_path / "store.db") as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    error = raised(lambda: Store.open(tmp_path))
    assert "schema 99" in error.message
    assert error.hint


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_text("good day" * 1000)
    assert "not a database" in raised(lambda: Store.open(tmp_path)).message
    os.unlink(tmp_path / "store.db")
    Store.open(tmp_path).close()  # and the lock was given back


def test_ping_says_whether_it_can_be_written(store: Store) -> None:
    store.ping()
    store.close()
    assert raised(store.ping).status == 503
