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
from .build_progress import Progress
from .build_sources import Origin
from .build_state import State
from .dockerfile_stages import Plan
from .obtain import obtain
from .store import Image, Store, link_of
from .writer import Writer


@dataclass
class Session:
    """What all stages of one build share.

    Args:
        store: where images are.
        writer: of this build.
        cache: the results of earlier builds.
        executor: runs commands.
        progress: is told what happens.
        plan: the Dockerfile's stages.
        context: where COPY takes files from.
        options: of the command line.
        global_args: ARGs from above FROM, and the platform's.
        now: the time of this build, as RFC 3339.
        done: the stages that are complete, by index.
    """

    store: Store
    writer: Writer
    cache: Cache
    executor: Executor
    progress: Progress
    plan: Plan
    context: Origin
    options: Options
    global_args: Mapping[str, str]
    now: str
    done: dict[int, State] = field(default_factory=dict)

    def lowers(self, diff_ids: list[str]) -> tuple[Path, ...]:
        """Return the folders of layers for overlayfs, newest first, each once."""
        newest_first = dict.fromkeys(reversed(diff_ids))
        root = Path(self.store.root)
        return tuple(root / link_of(diff_id) for diff_id in newest_first) or (root / "l/empty",)

    def find_image(self, name: str) -> Image:
        """Return an image, kept from the collector while this build lasts.

        ``minirun/python`` is captured from this host where it is missing; another is pulled.
        """
        found = obtain(self.store, name, self.options.obtain)
        self.writer.claim(found)
        return found
