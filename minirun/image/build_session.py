"""What the stages of one build share, and where they get base images from.

Next: ``build_stage.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .build_cache import Cache
from .build_executor import Executor
from .build_options import Options
from .build_progress import Board, Progress
from .build_sources import Origin
from .build_state import State
from .dockerfile_stages import Plan, Stage
from .obtain import obtain
from .store import Image, Store, link_of
from .trust import confirm_trusted
from .writer import Writer


@dataclass
class Session:
    """What all stages of one build share.

    Args:
        store: where images are.
        writer: of this build.
        cache: the results of earlier builds.
        executor: runs commands.
        board: shows what happens to all stages.
        progress: is told what happens to this one.
        plan: the Dockerfile's stages.
        context: where COPY takes files from.
        options: of the command line.
        global_args: ARGs from above FROM, and the platform's.
        now: the time of this build, as RFC 3339.
        epoch: SOURCE_DATE_EPOCH, the date that a reproducible build pretends to be on.
        contexts: the folders of ``--build-context``, by name.
        images: the images that the stages start from, by the name they are given there.
        done: the stages that are complete, by index.
    """

    store: Store
    writer: Writer
    cache: Cache
    executor: Executor
    board: Board
    progress: Progress
    plan: Plan
    context: Origin
    options: Options
    global_args: Mapping[str, str]
    now: str
    epoch: int | None = None
    contexts: Mapping[str, Origin] = field(default_factory=dict)
    images: dict[str, Image] = field(default_factory=dict)
    done: dict[int, State] = field(default_factory=dict)

    def new_state(self) -> State:
        """Return a stage of which nothing is built yet."""
        return State(self.plan.file, self.options.build_args, self.global_args)

    def lowers(self, diff_ids: list[str]) -> tuple[Path, ...]:
        """Return the folders of layers for overlayfs, newest first, each once."""
        newest_first = dict.fromkeys(reversed(diff_ids))
        root = Path(self.store.root)
        return tuple(root / link_of(diff_id) for diff_id in newest_first) or (root / "l/empty",)

    def find_image(self, name: str) -> Image:
        """Return an image, kept from the collector while this build lasts.

        ``minirun/python`` is captured from this host where it is missing; another is pulled.

        Raises:
            ImageError: it cannot be had, or the policy does not accept it.
        """
        if name in self.images:
            return self.images[name]
        found = obtain(self.store, name, self.options.obtain)
        self.writer.claim(found)
        confirm_trusted(found, name)
        self.images[name] = found
        return found

    def context_of(self, name: str) -> Origin | None:
        """Return the context of a name, "" being the build's own; None for a stage or image."""
        return self.contexts.get(name) if name else self.context

    def may_reuse(self, stage: Stage) -> bool:
        """Return True where the steps of a stage may come from the cache."""
        return stage.name not in self.options.no_cache_stages or not stage.name

    @property
    def dated(self) -> dict[str, str]:
        """The variable that tells a command which date it is; compilers and pip heed it."""
        return {} if self.epoch is None else {"SOURCE_DATE_EPOCH": str(self.epoch)}
