"""A local runtime on real containers: images of busybox that serve, end, or do what a test says."""

from __future__ import annotations

import select
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from minirun import Containers, MinirunError, default_home
from minirun.image.model import ContainerConfig
from minirun.record import replace as with_fields
from scheduler.actions import Start
from scheduler.engines.afterlife import Afterlife
from scheduler.engines.capacity import Capacity
from scheduler.engines.local import LocalRuntime
from scheduler.engines.starter import Surroundings
from scheduler.model import Template
from scheduler.observed import Phase, Replica
from tests.integration.engine_lab import make_rootfs
from tests.integration.image_lab import PLAIN

PATIENCE_S = 60.0
SERVE = "mkdir -p /www && echo hello > /www/index.html && exec httpd -f -p 8000 -h /www"
IMAGES = {
    "good": ("sh", "-c", SERVE),
    "crash": ("sh", "-c", "exit 1"),
    "sh": ("sleep", "1000"),
}


def make_images(folder: Path) -> None:
    """Make the images that the tests use."""
    rootfs = make_rootfs(folder / "rootfs")
    store = default_home().images
    with store.write() as writer:
        layer = writer.add_layer_from_dir(str(rootfs))
        for name, command in IMAGES.items():
            config = ContainerConfig(cmd=command, env=("PATH=/bin",))
            writer.write_image(with_fields(PLAIN, config=config), [layer], [name])
    shutil.rmtree(rootfs)


class LocalLab:
    """A runtime under test, and what it needs of a scheduler.

    Args:
        owner: which scheduler's.
        run: the name of its folder; two schedulers cannot have the same.
    """

    good, crash, missing = "good", "crash", "missing"

    def __init__(self, owner: str = "test", run: str = ".scheduler") -> None:
        self.home = default_home()
        self.run = Path(self.home.root) / run
        self.secrets = {"key": b"a secret"}
        self.cordoned = False
        self.news = 0
        self.owner = owner
        self.made: list[LocalRuntime] = []
        self.runtime = self.another()

    def another(self) -> LocalRuntime:
        """Return one more runtime over the same containers, as after a restart."""
        around = Surroundings(
            self.owner,
            self.run / "replicas",
            time.monotonic,
            self._secret,
            lambda: self.cordoned,
            self._heard,
            Capacity(gpus=["/dev/null"]),
            Afterlife(self.run / "logs", self.known),
        )
        self.made.append(LocalRuntime(Containers(self.home), around))
        return self.made[-1]

    def known(self, deployment: str) -> bool:
        """Say which deployments there are."""
        return deployment != "gone"

    def _secret(self, name: str) -> bytes:
        if name not in self.secrets:
            raise MinirunError(f"there is no secret {name}")
        return self.secrets[name]

    def _heard(self) -> None:
        self.news += 1

    def start(self, name: str = "web.1", image: str = "good", **template: object) -> Start:
        """Start a replica."""
        made = replace(Template(image, port=8000), **template)  # type: ignore[arg-type]
        order = Start(name, name.partition(".")[0], 3, made)
        self.runtime.start(order)
        return order

    def seen(self, name: str = "web.1") -> Replica:
        return self.runtime.replicas()[name]

    def ready(self, name: str = "web.1") -> Replica:
        """Return a replica once it is ready."""
        self.wait_until(lambda: self.seen(name).ready_since is not None or self._has_ended(name))
        assert self.seen(name).phase is Phase.RUNNING, self.seen(name)
        return self.seen(name)

    def _has_ended(self, name: str) -> bool:
        return self.seen(name).has_ended

    def running(self, name: str = "web.1") -> Replica:
        self.wait_until(lambda: self.seen(name).phase is not Phase.STARTING)
        assert self.seen(name).phase is Phase.RUNNING, self.seen(name)
        return self.seen(name)

    def ended(self, name: str = "web.1") -> Replica:
        self.wait_until(lambda: self._has_ended(name))
        return self.seen(name)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"it never came to be: {self.runtime.replicas()}")
            select.select([], [], [], 0.005)

    def clear(self) -> None:
        """End and remove every replica."""
        for name in self.runtime.replicas():
            self.runtime.stop(name, 0.0)
        self.wait_until(self._is_clear)
        assert not self._records()

    def _is_clear(self) -> bool:
        """Remove who has ended; return whether nobody is left."""
        for name in self.runtime.replicas():
            self.runtime.remove(name)
        return not self.runtime.replicas()

    def _records(self) -> list[str]:
        found = self.runtime.containers.all()
        return [r.name for r in found if r.labels.get("minisched.scheduler") == self.owner]


@contextmanager
def opened(owner: str = "test", run: str = ".scheduler") -> Iterator[LocalLab]:
    """Give a runtime with a launcher of its own, and take all of it away."""
    lab = LocalLab(owner, run)
    try:
        lab.runtime.open()
        yield lab
        lab.clear()
    finally:
        lab.runtime.dissolve()
        for runtime in lab.made:  # one of them started the launcher, and has to collect it
            runtime.launcher.stop()
