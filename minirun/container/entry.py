"""What is known about one container, as it is kept on disk.

``ContainerRecord`` is one JSON file, ``container.json``: what was asked for (fixed at create) and
what became of it (``State``). It survives all of our processes; nothing else is state.

Pure. Next: ``store.py``, which keeps them.
"""

from __future__ import annotations

from ..decode import decode, encode
from ..errors import SpecError, StateError
from ..quickjson import compact, loads
from ..record import EMPTY, Record
from .command import HealthCheck
from .health import Health
from .options import RunOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

CREATED, RUNNING, PAUSED = "created", "running", "paused"
RESTARTING, EXITED, REMOVING, DEAD = "restarting", "exited", "removing", "dead"
ALIVE = (RUNNING, PAUSED)


class Attachment(Record):
    """Where the container is on the network; "" where it has none of its own."""

    ip: str = ""
    gateway: str = ""
    mac: str = ""
    bridge: str = ""
    namespace_path: str = ""
    ports: tuple[str, ...] = ()


class State(Record):
    """What became of the container; times as RFC 3339 with nanoseconds, "" for never.

    ``pid`` means nothing without ``pid_start_time`` (field 22 of /proc/PID/stat): the kernel gives
    numbers out again. ``reason`` is one of exit, signal, oom, error, or "" while there is none.
    """

    status: str = CREATED
    pid: int = 0
    pid_start_time: int = 0
    shim_pid: int = 0
    shim_start_time: int = 0
    started_at: str = ""
    finished_at: str = ""
    exit_code: int = 0
    reason: str = ""
    error: str = ""
    oom_killed: bool = False
    peak_memory_bytes: int = 0
    restart_count: int = 0
    stopped_by_user: bool = False
    health: Health | None = None
    attachment: Attachment = Attachment()


class ContainerRecord(Record):
    """One container.

    ``image`` is what the user typed, ``image_id`` what it meant then; ``volumes`` is {target: name}
    of volumes that the container uses, ``anonymous`` the names that go away with it.
    """

    id: str
    name: str
    created: str
    options: RunOptions = RunOptions()
    image: str = ""
    image_id: str = ""
    args: tuple[str, ...] = ()
    labels: Mapping[str, str] = EMPTY
    health_check: HealthCheck | None = None
    stop_signal: int = 15
    stop_timeout_s: int = 10
    rootfs: str = ""
    volumes: Mapping[str, str] = EMPTY
    anonymous: tuple[str, ...] = ()
    state: State = State()


def to_json(record: ContainerRecord) -> bytes:
    """Return the file's content; a field that holds its default is left out."""
    return compact(encode(record)).encode()


def from_json(content: bytes, path: str) -> ContainerRecord:
    """Return the record.

    Raises:
        StateError: the file is damaged; names it.
    """
    try:
        return decode(ContainerRecord, loads(content.decode("utf-8", "surrogateescape")))
    except (ValueError, RecursionError) as error:
        raise StateError(f"{path}: damaged: {error}", hint="minirun rm -f removes it") from error
    except SpecError as error:
        problem = error.message.removeprefix("config.json: ")
        raise StateError(f"{path}: damaged: {problem}", hint="minirun rm -f removes it") from error
