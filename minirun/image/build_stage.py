"""One stage, instruction by instruction: RUN, COPY, ADD and WORKDIR make layers here.

Each of them is the same four lines: work out the key, ask the cache, else let the instruction
write into an empty upper folder, and turn that folder into a layer. All other instructions change
only the ``State``.

Next: ``build_run.py`` and ``build_transfer.py``, which do the writing.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import ImageError, MinirunError
from . import build_run, build_transfer
from .build_cache import INLINE, Result, key_of
from .build_mounts import clear_work
from .build_rootfs import merged, owner_of
from .build_session import Session
from .build_sources import Origin
from .build_state import State
from .dockerfile import DockerfileError, Instruction
from .dockerfile_stages import Stage
from .locks import in_words
from .model import History
from .tree import Tree

#: The instructions that a person waits for; the others are done in no time and are not announced.
STEPS = frozenset({"RUN", "COPY", "ADD", "WORKDIR"})


class StageBuilder:
    """Builds one stage.

    Args:
        session: shared with the other stages.
        stage: what to build.
        state: what FROM made of it.
        triggers: the base's ONBUILD instructions, already parsed.
    """

    def __init__(
        self, session: Session, stage: Stage, state: State, triggers: tuple[Instruction, ...]
    ) -> None:
        self.session = session
        self.stage = stage
        self.state = state
        self._instructions = (*triggers, *stage.instructions)
        self._count = 1 + sum(i.keyword in STEPS for i in self._instructions)
        self._number = 1
        self._may_reuse = session.may_reuse(stage)

    def title(self, text: str) -> str:
        """Return a step's title: its stage where it has a name, its number, its text."""
        alone = len(self.session.plan.stages) == 1
        name = self.stage.name or ("" if alone else f"stage-{self.stage.index}")
        name = f"{name} " if name else ""
        return f"[{name}{self._number}/{self._count}] {text}"

    def build(self) -> State:
        """Carry out every instruction."""
        for instruction in self._instructions:
            if self.state.apply(instruction):
                self._remember(instruction, Result(None, self.state.created))
                continue
            self._number += 1
            first_line = instruction.original.partition("\n")[0]
            self.session.progress.start(self.title(" ".join(first_line.split())))
            with self._at(instruction):
                self._carry_out(instruction)
        return self.state

    def _carry_out(self, instruction: Instruction) -> None:
        if instruction.keyword == "RUN":
            build_run.run(self, instruction)
        elif instruction.keyword == "WORKDIR":
            self._workdir(instruction)
        else:
            build_transfer.copy(self, instruction)

    @contextmanager
    def _at(self, instruction: Instruction) -> Iterator[None]:
        """Give errors the line of the instruction, and tell who watches."""
        try:
            yield
        except DockerfileError as error:
            self.session.progress.failed(error.message)
            raise
        except (MinirunError, OSError) as error:
            said, hint = in_words(error)
            problem = f"{instruction.keyword} failed: {said}"
            self.session.progress.failed(problem)
            raise self.state.file.error(instruction, problem, hint=hint) from error

    # ---- layers ----------------------------------------------------------------------------------

    def layer(
        self, instruction: Instruction, key: str, write: Callable[[Path, Path], None]
    ) -> None:
        """Add the layer of a step: from the cache, else from what ``write`` puts into a folder."""
        if self.session.epoch is not None:
            key = key_of(key, self.session.epoch)  # a layer of another day has other dates
        found = self.session.cache.find(key) if self._may_reuse else None
        result = found or self._make(key, write)
        if result.layer is not None:
            self.state.layers.append(result.layer)
        self.state.created = max(self.state.created, result.created)
        self._remember(instruction, result, key)
        self.session.progress.done(cached=found is not None)

    def _make(self, key: str, write: Callable[[Path, Path], None]) -> Result:
        session = self.session
        folder = Path(tempfile.mkdtemp(dir=session.writer.scratch))
        upper, work = folder / "upper", folder / "work"
        for made in (upper, work):
            made.mkdir()
            # The upper folder's own mode becomes that of "/": mkdir's would depend on the umask.
            made.chmod(0o755)
        write(upper, work)
        clear_work(work)
        layer = None
        if any(upper.iterdir()):
            # Not compressed: nobody downloads this blob, and gzip takes five times as long.
            layer = session.writer.add_layer_from_upper(
                str(upper), clamp_s=session.epoch, compress=False
            )
        result = Result(layer, session.now)
        session.cache.keep(key, result)
        return result

    def _remember(self, instruction: Instruction, result: Result, key: str = "") -> None:
        inline = key and self.session.options.inline_cache
        entry = History(
            created=result.created,
            created_by=instruction.original,
            comment=f"{INLINE}{key}" if inline else "",
            empty_layer=result.layer is None,
        )
        self.state.history.append(entry)

    def _workdir(self, instruction: Instruction) -> None:
        folder = self.state.set_workdir(instruction).strip("/")
        user = self.state.config.user
        lowers = self.session.lowers(self.diff_ids())

        def write(upper: Path, work: Path) -> None:
            with merged(lowers, upper, work) as root, Tree(root) as tree:
                _make_folders(root, tree, folder, user)

        self.layer(instruction, key_of("WORKDIR", self.diff_ids(), folder, user), write)

    # ---- where files come from -------------------------------------------------------------------

    def diff_ids(self) -> list[str]:
        """Return the layers so far, lowest first."""
        return [layer.diff_id for layer in self.state.layers]

    @contextmanager
    def origin(self, instruction: Instruction, name: str) -> Iterator[Origin]:
        """Yield where files come from: a context, a stage before this one, an image."""
        context = self.session.context_of(name)
        if context is not None:
            yield context
            return
        with merged(self.session.lowers(self.layers_of(instruction, name))) as root:
            yield Origin(root, name, keep_owners=True)

    def layers_of(self, instruction: Instruction, name: str) -> list[str]:
        """Return the layers of a stage before this one, or of an image."""
        stage = self.session.plan.before(self.stage, name)
        if stage is not None:
            return [layer.diff_id for layer in self.session.done[stage.index].layers]
        if name.isdecimal() or name.lower() == self.stage.name:
            problem = f"--from={name} names no stage before this one"
            raise self.state.file.error(instruction, problem)
        return list(self.session.find_image(name).config.rootfs.diff_ids)


def _make_folders(root: int, tree: Tree, path: str, user: str) -> None:
    """Make the folders of a path that are missing, for a user; one that is unknown means root."""
    owner = (0, 0)
    with suppress(ImageError):
        owner = owner_of(root, user) if user else owner
    parts = path.split("/")
    for depth in range(1, len(parts) + 1):
        folder = "/".join(parts[:depth])
        try:
            tree.directory(folder)
        except FileNotFoundError:
            os.fchown(tree.make_directory(folder), *owner)
