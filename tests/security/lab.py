"""A small bundle, a runtime process of its own for each try, and ways to weaken it.

A replay tries the same attack twice: against a runtime that was weakened in one place, where it
must succeed, and against the real one, where it must fail. Without the first half the second
proves nothing: an attack that never worked cannot be held off.

Every try happens in a forked child, the *actor*: it is the runtime process of that try. So a
weakening is an assignment in a process that ends with the try, and no test can weaken the next.
What is attacked are canaries: directories and files of the test, outside the container's root.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import select
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from minirun import creation, execute, runner
from minirun.decode import decode
from minirun.errors import MinirunError
from minirun.host import probe
from minirun.lifecycle import Container, Request
from minirun.plan import Plan
from minirun.spec import Spec
from minirun.steps.base import Context, Step
from minirun.sync import Channel

Json = dict[str, Any]
Weakening = Callable[[], None]
S = TypeVar("S", bound=Step)

APPLETS = (
    "cat chmod cp echo env grep head id ln ls mkdir mkfifo od readlink rm sh sleep sort stat touch "
    "tr true wc"
)
IDENTITY_MAP = [{"containerID": 0, "hostID": 0, "size": 65536}]
SHIFTED_MAP = [{"containerID": 0, "hostID": 100000, "size": 65536}]
CAPABILITIES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_MKNOD", "CAP_NET_RAW"]
_numbers = count()


@dataclass(frozen=True)
class Outcome:
    """What came of one try.

    Args:
        error: the message of the MinirunError that ended it, "" where the program ran.
        hint: its hint.
        crash: the traceback of any other exception: always a bug.
        exit_code: of the program, or of the error.
        output: what the program wrote to its standard output and error.
    """

    error: str = ""
    hint: str = ""
    crash: str = ""
    exit_code: int = 0
    output: str = ""

    @property
    def ran(self) -> bool:
        """Whether there was a program at all."""
        return not self.error and not self.crash


@dataclass
class Bundle:
    """A root file system with busybox, a config, and canaries beside it."""

    path: Path
    state_root: Path
    config: Json = field(default_factory=dict)

    @property
    def rootfs(self) -> Path:
        return self.path / "rootfs"

    @property
    def canary(self) -> Path:
        """Return a directory of the "host": no container may see or touch it."""
        return self.path / "canary"

    @property
    def secret(self) -> Path:
        return self.canary / "secret"

    def run(self, *args: str) -> None:
        self.config["process"]["args"] = list(args)

    def script(self, text: str) -> None:
        self.run("/bin/sh", "-c", text)

    def mount(
        self, destination: str, source: str | Path, *options: str, kind: str = "bind"
    ) -> None:
        """Add a mount."""
        words = ["rbind", *options] if kind == "bind" else list(options)
        entry = {"destination": destination, "source": str(source), "type": kind}
        self.config["mounts"].append({**entry, "options": words})

    def without_mount(self, destination: str) -> None:
        kept = [m for m in self.config["mounts"] if m["destination"] != destination]
        self.config["mounts"] = kept

    def spec(self) -> Spec:
        return decode(Spec, self.config)

    def user_namespace(self, mappings: list[dict[str, int]]) -> None:
        linux = self.config["linux"]
        linux["namespaces"].append({"type": "user"})
        linux["uidMappings"] = linux["gidMappings"] = mappings


def make_bundle(path: Path, state_root: Path) -> Bundle:
    """Return a bundle in a new directory; the canary holds one secret."""
    bundle = Bundle(path, state_root, default_config())
    rootfs = bundle.rootfs
    for name in ("bin", "dev", "etc", "proc", "sys", "tmp", "usr/lib", "work"):
        (rootfs / name).mkdir(parents=True)
    (rootfs / "tmp").chmod(0o1777)
    shutil.copy(shutil.which("busybox") or "busybox", rootfs / "bin/busybox")
    for name in APPLETS.split():
        (rootfs / "bin" / name).symlink_to("busybox")
    bundle.canary.mkdir()
    bundle.secret.write_text("the secret of the host\n")
    return bundle


def default_config() -> Json:
    """Return the config.json of an ordinary container, as an engine would write it."""
    nosuid = ["nosuid", "noexec", "nodev"]
    dev = ["nosuid", "strictatime", "mode=755", "size=65536k"]
    pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    held = {kind: list(CAPABILITIES) for kind in ("bounding", "effective", "permitted")}
    kinds = ("mount", "pid", "uts", "ipc", "network")
    return {
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "hostname": "replay",
        "process": {
            "cwd": "/",
            "args": ["true"],
            "env": ["PATH=/bin"],
            "user": {"uid": 0, "gid": 0},
            "capabilities": held,
            "noNewPrivileges": True,
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": nosuid},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": dev},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": pts},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*nosuid, "ro"]},
        ],
        "linux": {"namespaces": [{"type": kind} for kind in kinds]},
    }


# ── one try ───────────────────────────────────────────────────────────────────────────────────


def attempt(
    bundle: Bundle,
    *weakenings: Weakening,
    during: Callable[[Container], object] | None = None,
    timeout_s: float = 20,
    keep_fds: int = 0,
) -> Outcome:
    """Create, start, wait for and delete a container, in an actor.

    Args:
        bundle: what to run.
        weakenings: called in the actor first.
        during: called once it runs, before the program is waited for.
        timeout_s: an actor that takes longer is killed, and the test fails.
        keep_fds: see ``lifecycle.Request``.
    """

    def live() -> Outcome:
        for weaken in weakenings:
            weaken()
        return _live(bundle, during, keep_fds)

    return Outcome(**act(live, timeout_s))


def attempt_afresh(
    bundle: Bundle,
    weaken: Callable[[], Sequence[Weakening]],
    during: Callable[[Container], object] | None = None,
) -> Outcome:
    """Attempt it in a new interpreter, which owes nothing to what the tests before have loaded.

    Args:
        bundle: what to run.
        weaken: returns the weakenings; like ``during`` a function that its module's name finds.
        during: see ``attempt``.
    """
    argv = [sys.executable, "-c", "from tests.security.lab import afresh; afresh()"]
    done = subprocess.run(
        argv, input=pickle.dumps((bundle, weaken, during)), capture_output=True, check=False,
        cwd=Path(__file__).parents[2], timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    return Outcome(**json.loads(done.stdout))


def afresh() -> None:
    """Be the new interpreter: read what to do, say what came of it."""
    bundle, weaken, during = pickle.load(sys.stdin.buffer)
    print(json.dumps(vars(attempt(bundle, *weaken(), during=during))))


def act(function: Callable[[], Outcome], timeout_s: float = 20) -> Json:
    """Return what a function returns in a forked child.

    Raises:
        TimeoutError: it took too long, or ended without a word.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            os.write(writer, json.dumps(vars(_guarded(function))).encode() + b"\n")
        finally:
            os._exit(0)
    os.close(writer)
    try:
        return _hear(reader, timeout_s)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reader)


def _hear(reader: int, timeout_s: float) -> Json:
    """Read one line: a weak runtime may keep the pipe open, so its end says nothing."""
    data = b""
    while not data.endswith(b"\n"):
        if not select.select([reader], [], [], timeout_s)[0]:
            raise TimeoutError(f"the try took longer than {timeout_s} s")
        chunk = os.read(reader, 65536)
        if not chunk:
            raise TimeoutError("the actor ended without a word")
        data += chunk
    said: Json = json.loads(data)
    return said


def _guarded(function: Callable[[], Outcome]) -> Outcome:
    """Only a MinirunError may leave the runtime; anything else is a traceback for its user."""
    try:
        return function()
    except MinirunError as error:
        return Outcome(error=str(error), hint=error.hint, exit_code=error.exit_code)
    except BaseException:  # noqa: BLE001 - reported, and asserted on
        return Outcome(crash=traceback.format_exc(limit=12))


def _live(bundle: Bundle, during: Callable[[Container], object] | None, keep_fds: int) -> Outcome:
    """Be the runtime and the engine of one container."""
    container = new_container(bundle)
    with output_file() as out:
        create(container, bundle, out, keep_fds)
        try:
            pid = container.state().pid
            container.start()
            if during is not None:
                during(container)
            code = exit_code(pid)
        finally:
            container.delete(force=True)
        return Outcome(exit_code=code, output=read_back(out))


def new_container(bundle: Bundle, container_id: str = "") -> Container:
    """Return a container, with an id that nobody had unless one is given."""
    name = container_id or f"replay-{os.getpid()}-{next(_numbers)}"
    return Container(str(bundle.state_root), name, probe())


def create(container: Container, bundle: Bundle, out: int, keep_fds: int = 0) -> dict[str, int]:
    """Create it with its output going to a file."""
    with open(os.devnull) as null:
        stdio = (null.fileno(), out, out)
        request = Request(container.id, str(bundle.path), stdio=stdio, keep_fds=keep_fds)
        return container.create(bundle.spec(), request)


@contextlib.contextmanager
def output_file() -> Iterator[int]:
    """Give a file that is in no directory."""
    fd = os.memfd_create("output")
    try:
        yield fd
    finally:
        os.close(fd)


def read_back(fd: int) -> str:
    """Return everything that was written."""
    return os.pread(fd, 1 << 20, 0).decode(errors="replace")


def exit_code(pid: int) -> int:
    """Wait for the container's process: the actor is its subreaper."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# ── weakenings ────────────────────────────────────────────────────────────────────────────────


def change_plan(change: Callable[[Plan], Plan]) -> Weakening:
    """Return a weakening that changes the plans of create and of exec: a plan is data."""

    def weaken() -> None:
        for module, name in ((creation, "plan_create"), (execute, "plan_exec")):
            put(module, name, _changed(getattr(module, name), change))()

    return weaken


def _changed(make: Callable[..., Plan], change: Callable[[Plan], Plan]) -> Callable[..., Plan]:
    return lambda *args: change(make(*args))


def become(weak: type[S]) -> Weakening:
    """Return a weakening that swaps each step of the class that ``weak`` extends for a weak one."""
    strong = weak.__bases__[0]

    def swap(step: Step) -> Step:
        if type(step) is not strong:
            return step
        return weak(**{name: getattr(step, name) for name in strong.__fields__})

    return change_plan(lambda plan: Plan(tuple(map(swap, plan.steps))))


def leave_out(step_id: str) -> Weakening:
    """Return a weakening that leaves a step out."""
    return change_plan(lambda plan: Plan(tuple(s for s in plan.steps if s.id != step_id)))


def insert(step: Step, *, after: str = "", before: str = "") -> Weakening:
    """Return a weakening, or a witness, that adds a step beside the first of that id."""

    def change(plan: Plan) -> Plan:
        place = next(i for i, s in enumerate(plan.steps) if s.id == (after or before))
        place += bool(after)
        return Plan((*plan.steps[:place], step, *plan.steps[place:]))

    return change_plan(change)


def keep_descriptor(number: int) -> Weakening:
    """Return a weakening: the first child does not close one that the caller has open."""
    leave = runner._leave_the_caller

    def leave_all_but_one(context: Context, channel: Channel) -> None:
        context.fds["leaked"] = number
        leave(context, channel)

    return put(runner, "_leave_the_caller", leave_all_but_one)


def put(owner: object, name: str, value: object) -> Weakening:
    """Return a weakening that replaces one function."""
    return lambda: setattr(owner, name, value)
