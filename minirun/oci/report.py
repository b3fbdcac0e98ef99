"""Where errors go: the log file that the caller named, and standard error.

Engines read both. containerd takes the last ``error`` of the log, podman wants the whole file to be
one JSON object, so without ``--debug`` there is at most one line, the final error.

Next: ``../oci_cli.py``.
"""

from __future__ import annotations

import os

from ..errors import HostError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..steps.base import Step


class Report:
    """The log of one command.

    Args:
        path: the log file, appended to; "" for none.
        form: ``text`` or ``json``.
        debug: whether debug lines are written.
    """

    def __init__(self, path: str, form: str, *, debug: bool) -> None:
        if form not in ("text", "json"):
            raise UsageError(f"unknown log-format {form!r}", hint="text or json")
        self._form = form
        self._debug = debug
        self._fd = 2
        if path:
            # O_SYNC: whoever waits for us reads the file at once.
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_SYNC | os.O_CLOEXEC
            try:
                self._fd = os.open(path, flags, 0o644)
            except OSError as error:
                words = os.strerror(error.errno or 0).lower()
                raise HostError(f"open log {path}: {words}") from error

    def error(self, text: str, hint: str = "") -> None:
        """Write the final error; a hint is for people, so it is not part of the message."""
        if self._fd != 2:
            self._write("error", text, hint)
        named = text if text.startswith("minirun-oci ") else f"minirun-oci: {text}"
        said = f"{named}\n" + (f"hint: {hint}\n" if hint else "")
        os.write(2, said.encode(errors="replace"))

    def observer(self) -> Callable[[int, Step, float], None] | None:
        """Return what the runner should tell of each step; None where nobody wants to know."""
        if not self._debug:
            return None

        def tell(index: int, step: Step, seconds: float) -> None:
            took = f"{seconds * 1000:.2f} ms"
            self._write("debug", f"{index + 1} {step.lane} {step.title}: {step.why} ({took})")

        return tell

    def _write(self, level: str, text: str, hint: str = "") -> None:
        from time import gmtime, strftime

        now = strftime("%Y-%m-%dT%H:%M:%SZ", gmtime())
        if self._form == "json":
            from ..quickjson import dumps

            line = {"level": level, "msg": text, "time": now, **({"hint": hint} if hint else {})}
            written = dumps(line)
        else:
            escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
            written = f'time="{now}" level={level} msg="{escaped}"'
        os.write(self._fd, written.encode(errors="replace") + b"\n")
