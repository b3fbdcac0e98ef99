"""What the processes of ``test_store_stress.py`` do to one store; run as a program.

store_worker.py once ROOT LAYOUT CONTENT         load, make, tag, remove and collect, in turn
store_worker.py many ROOT LAYOUT CONTENT SEED    the same at random, until standard input ends
"""

from __future__ import annotations

import random
import select
import sys
from collections.abc import Callable

from minirun.errors import ImageError
from minirun.image import layout
from minirun.image.model import ContainerConfig, ImageConfig, RootFs
from minirun.image.store import Store
from minirun.image.verify import verify

CONFIG = ImageConfig("amd64", "linux", RootFs("layers"), ContainerConfig(cmd=("/x",)))
#: What another process may have done a moment before.
EXPECTED = ("no such image", "has no blob", "was removed")


class Worker:
    """One process's view of the store."""

    def __init__(self, root: str, source: str, content: str) -> None:
        self.store = Store(root)
        self._source = source
        self._content = content

    def load(self) -> None:
        """Bring an image in, as a pull does: layers at once, each unpacked while it arrives."""
        layout.load(self.store, self._source, ["shared"])

    def make(self) -> None:
        """Add a layer to it, as a build or a commit does."""
        base = self.store.resolve("shared")
        with self.store.write() as writer:
            writer.claim(base)
            layer = writer.add_layer_from_dir(self._content)
            if all(writer.has_layer(part.diff_id) for part in base.layers):
                writer.write_image(CONFIG, (*base.layers, layer), ["made"])

    def look(self) -> None:
        """Whatever is visible is whole; held, so that nobody takes it away meanwhile."""
        for image in self.store.images():
            with self.store.write() as writer:
                writer.claim(image)
                if image.id in {one.id for one in self.store.images()}:
                    problems = list(verify(self.store, image))
                    assert not problems, problems

    def tag(self) -> None:
        """Give one more name."""
        self.store.tag(self.store.resolve("shared"), "alias")

    def remove(self) -> None:
        """Take names away and free the space."""
        self.store.remove(random.choice(["shared", "made", "alias"]), force=True)
        self.store.gc()

    def collect(self) -> None:
        """Free the space."""
        self.store.gc()


def main(how: str, root: str, source: str, content: str, *seed: str) -> None:
    worker = Worker(root, source, content)
    steps: list[Callable[[], None]] = [
        *(worker.load, worker.make, worker.look, worker.tag, worker.remove, worker.collect)
    ]
    if how == "once":
        for step in (worker.load, worker.make, worker.tag, worker.collect):
            step()
        return
    random.seed(seed[0])
    count = 0
    while not select.select([0], [], [], 0)[0]:
        try:
            random.choice(steps)()
        except ImageError as error:
            if not any(text in error.message for text in EXPECTED):
                raise
        count += 1
    print(count)


if __name__ == "__main__":
    main(*sys.argv[1:])
