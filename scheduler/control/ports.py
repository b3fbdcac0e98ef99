"""What the use cases need of the world beyond the store: replicas' insides, images.

The runtime of ``serve`` offers these beside what the control loop asks of it; so does the fake of
the tests. May not import anything with an effect. Next: ``context.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line a replica wrote, without its end; ``stream`` is ``stdout`` or ``stderr``."""

    unix_s: float
    stream: str
    text: str


@dataclass(frozen=True, slots=True)
class Executed:
    """What a command inside a replica came to; ``exit_code`` is None where it ran out of time."""

    exit_code: int | None
    stdout: bytes = b""
    stderr: bytes = b""
    timed_out: bool = False
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """What a replica has used of the CPU so far, what it holds of the memory, and its limits.

    A limit of 0 means there is none.
    """

    cpu_s: float
    memory_bytes: int
    memory_limit_bytes: int = 0
    cpu_limit_millis: int = 0


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """One image that replicas can be made of."""

    reference: str
    digest: str
    size_bytes: int
    created_unix_s: float


class Replicas(Protocol):
    """A look inside replicas."""

    def logs(self, replica_id: str, *, tail: int | None) -> Iterator[LogLine | None]:
        """Yield a replica's last ``tail`` lines (None: all), then what it writes from then on.

        It never blocks: None says that there is nothing more now. It ends when the replica has
        ended and everything was read.

        Raises:
            ScheduleError: there is no such replica (404).
        """

    def remembered(self, deployment: str) -> tuple[str, ...]:
        """Return which replicas that are gone can still be asked for their logs, oldest first."""

    def execute(self, replica_id: str, command: tuple[str, ...], timeout_s: float) -> Executed:
        """Run a command inside a replica and wait for its end, at most ``timeout_s``.

        Raises:
            ScheduleError: there is no such replica (404), or it is not running (409).
        """

    def usage(self) -> Mapping[str, Usage]:
        """Return what every running replica uses, by its id."""


class Images(Protocol):
    """What replicas can be made of."""

    def images(self) -> tuple[ImageInfo, ...]:
        """Return every image on this host."""

    def has_image(self, reference: str) -> bool:
        """Return whether a replica could be made of this image."""
