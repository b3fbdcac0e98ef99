"""One stage, instruction by instruction: RUN, COPY, ADD and WORKDIR make layers here.

Each of them is the same four lines: work out the key, ask the cache, else let the instruction
write into an empty upper folder, and turn that folder into a layer. All other instructions change
only the ``State``.

Next: ``build_run.py`` and ``build_copy.py``, which do the writing.
"""

from __future__ import annotations

import posixpath
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ..errors import ImageError, MinirunError
from . import build_add, build_run
from .build_cache import Result, key_of
from .build_copy import Copier, Dress, target_of
from .build_executor import RunStep
from .build_ignore import Ignore
from .build_mounts import clear_work
from .build_rootfs import merged, owner_of
from .build_session import Session
from .build_sources import Origin
from .build_state import State
from .dockerfile import DockerfileError, Instruction
from .dockerfile_heredoc import Heredoc, heredoc_of
from .dockerfile_stages import Stage, expand_text, flags_of
from .layers import source_date_epoch
from .locks import in_words
from .model import History
from .tree import Tree

_TAIL_BYTES = 4000
#: The instructions that a person waits for; the others are done in no time and are not announced.
STEPS = frozenset({"RUN", "COPY", "ADD", "WORKDIR"})


class BuildStepError(DockerfileError):
    """A RUN command failed.

    Args:
        message: with file and line.
        status: the command's exit status.
        output: the end of what it printed.
    """

    def __init__(self, message: str, *, hint: str, status: int, output: str) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.output = output


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
        self._session = session
        self._stage = stage
        self._state = state
        self._instructions = (*triggers, *stage.instructions)
        self._count = 1 + sum(i.keyword in STEPS for i in self._instructions)
        self._number = 1
        self._makers = {
            "RUN": self._run,
            "COPY": self._copy,
            "ADD": self._copy,
            "WORKDIR": self._workdir,
        }

    def title(self, text: str) -> str:
        """Return a step's title: its stage where it has a name, its number, its text."""
        name = f"{self._stage.name} " if self._stage.name else ""
        return f"[{name}{self._number}/{self._count}] {text}"

    def build(self) -> State:
        """Carry out every instruction."""
        for instruction in self._instructions:
            if self._state.apply(instruction):
                self._remember(instruction, Result(None, self._state.created))
                continue
            self._number += 1
            first_line = instruction.original.partition("\n")[0]
            self._session.progress.start(self.title(" ".join(first_line.split())))
            with self._at(instruction):
                self._makers[instruction.keyword](instruction)
        return self._state

    @contextmanager
    def _at(self, instruction: Instruction) -> Iterator[None]:
        """Give errors the line of the instruction, and tell who watches."""
        try:
            yield
        except DockerfileError as error:
            self._session.progress.failed(error.message)
            raise
        except (MinirunError, OSError) as error:
            said, hint = in_words(error)
            problem = f"{instruction.keyword} failed: {said}"
            self._session.progress.failed(problem)
            raise self._state.file.error(instruction, problem, hint=hint) from error

    # ---- layers ----------------------------------------------------------------------------------

    def _diff_ids(self) -> list[str]:
        return [layer.diff_id for layer in self._state.layers]

    def _layer(
        self, instruction: Instruction, key: str, write: Callable[[Path, Path], None]
    ) -> None:
        """Add the layer of a step: from the cache, else from what ``write`` puts into a folder."""
        found = self._session.cache.find(key)
        result = found or self._make(key, write)
        if result.layer is not None:
            self._state.layers.append(result.layer)
        self._state.created = max(self._state.created, result.created)
        self._remember(instruction, result)
        self._session.progress.done(cached=found is not None)

    def _make(self, key: str, write: Callable[[Path, Path], None]) -> Result:
        session = self._session
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
                str(upper), clamp_s=source_date_epoch(), compress=False
            )
        result = Result(layer, session.now)
        session.cache.keep(key, result)
        return result

    def _remember(self, instruction: Instruction, result: Result) -> None:
        entry = History(
            created=result.created,
            created_by=instruction.original,
            empty_layer=result.layer is None,
        )
        self._state.history.append(entry)

    # ---- the four instructions -------------------------------------------------------------------

    def _workdir(self, instruction: Instruction) -> None:
        folder = self._state.set_workdir(instruction)
        lowers = self._session.lowers(self._diff_ids())

        def write(upper: Path, work: Path) -> None:
            with merged(lowers, upper, work) as root, Tree(root) as tree:
                tree.make_directory(folder.strip("/"))

        self._layer(instruction, key_of("WORKDIR", self._diff_ids(), folder), write)

    def _run(self, instruction: Instruction) -> None:
        state, session = self._state, self._session
        if not instruction.words:
            raise state.file.error(instruction, "RUN needs a command")
        step = RunStep(
            lowers=session.lowers(self._diff_ids()),
            upper=Path(),
            work=Path(),
            argv=build_run.command(state, instruction),
            env=build_run.environment(state),
            cwd=state.workdir,
            user=state.config.user,
            network=build_run.network(state, instruction, session.options.network),
        )
        inputs = (step.argv, step.env, step.cwd, step.user, step.network)

        def write(upper: Path, work: Path) -> None:
            self._execute(instruction, replace(step, upper=upper, work=work))

        self._layer(instruction, key_of("RUN", self._diff_ids(), *inputs), write)

    def _execute(self, instruction: Instruction, step: RunStep) -> None:
        tail = bytearray()

        def output(data: bytes) -> None:
            tail.extend(data)
            del tail[:-_TAIL_BYTES]
            self._session.progress.output(data)

        session = self._session
        status = build_run.run_step(session.executor, step, session.options.build_args, output)
        if status:
            line = " ".join(instruction.original.partition("\n")[0].split())
            where = f"{self._state.file.name}:{instruction.start_line}"
            raise BuildStepError(
                f"{where}: {line}: exit status {status}",
                hint=_HINTS.get(
                    status, "the steps before it are cached: correct it and build again"
                ),
                status=status,
                output=tail.decode("utf-8", "replace"),
            )

    def _copy(self, instruction: Instruction) -> None:
        state = self._state
        if len(instruction.words) < 2:
            raise state.file.error(
                instruction, f"{instruction.keyword} needs a source and a target"
            )
        flags = {name: [state.expand(instruction, v) for v in values]
                 for name, values in flags_of(instruction).items()}  # fmt: skip
        *given, last = instruction.words
        target = target_of(state.expand(instruction, last), state.workdir)
        documents = self._documents(instruction, given)
        sources = [state.expand(instruction, s) for s in given if s not in documents]
        with self._origin(instruction, flags.get("from", [""])[0]) as origin:
            found = self._found(instruction, origin, sources)
            if len(found) + len(documents) > 1 and not target.endswith("/") and target != "/":
                hint = f"write {target}/"
                raise state.file.error(instruction, "several sources need a folder", hint=hint)
            exclude = Ignore("\n".join(flags.get("exclude", [])))
            prints = [(posixpath.basename(s), origin.fingerprint(s, exclude)) for s in found]
            texts = [(doc.name, content) for doc, content in documents.values()]
            inputs = (prints, texts, target, sorted(flags.items()), origin.keep_owners)

            def write(upper: Path, work: Path) -> None:
                with merged(self._session.lowers(self._diff_ids()), upper, work) as root:
                    dress = _dress(root, flags)
                    with Copier(root, dress, exclude) as copier:
                        for source in found:
                            if instruction.keyword == "ADD":
                                scratch = self._session.writer.scratch
                                build_add.add(copier, origin, source, target, scratch)
                            else:
                                copier.copy(origin, source, target)
                        for doc, content in documents.values():
                            copier.write(content.encode(), target, doc.name)

            self._layer(instruction, key_of(instruction.keyword, self._diff_ids(), *inputs), write)

    def _documents(
        self, instruction: Instruction, given: list[str]
    ) -> dict[str, tuple[Heredoc, str]]:
        """Return the here-documents among the sources, by the word that stands for them."""
        documents: dict[str, tuple[Heredoc, str]] = {}
        waiting = list(instruction.heredocs)
        for word in given:
            if waiting and not instruction.is_json and heredoc_of(word):
                doc = waiting.pop(0)
                body = doc.body()
                if doc.expand:
                    body = expand_text(self._state.file, instruction, body, self._state.scope)
                documents[word] = (doc, body)
        return documents

    def _found(self, instruction: Instruction, origin: Origin, sources: list[str]) -> list[str]:
        found: list[str] = []
        for source in sources:
            if instruction.keyword == "ADD":
                build_add.refuse_remote(source)
            found += [path for path in origin.find(source) if path not in found]
        return found

    @contextmanager
    def _origin(self, instruction: Instruction, name: str) -> Iterator[Origin]:
        """Yield where a COPY takes files from: the context, a stage before this one, an image."""
        session = self._session
        if not name:
            yield session.context
            return
        earlier = replace(session.plan, stages=session.plan.stages[: self._stage.index])
        stage = earlier.find(name)
        if stage is not None:
            diff_ids = [layer.diff_id for layer in session.done[stage.index].layers]
        elif name.isdecimal() or name.lower() == self._stage.name:
            problem = f"--from={name} names no stage before this one"
            raise self._state.file.error(instruction, problem)
        else:
            image = session.find_image(name)
            diff_ids = list(image.config.rootfs.diff_ids)
        with merged(session.lowers(diff_ids)) as root:
            yield Origin(root, name if stage is None else f"stage {name}", keep_owners=True)


def _dress(root: int, flags: Mapping[str, list[str]]) -> Dress:
    """Return owner and mode from ``--chown`` and ``--chmod``; names are the image's own."""
    owner = flags.get("chown", [""])[0]
    mode = flags.get("chmod", [""])[0]
    if mode and (not mode.isdecimal() or set(mode) & {"8", "9"} or len(mode) > 5):
        raise ImageError(f"--chmod={mode} is not supported", hint="write an octal mode, as in 0755")
    return Dress(owner_of(root, owner) if owner else None, int(mode, 8) if mode else None)


_HINTS = {
    127: "the command was not found in the image",
    126: "the command is in the image but cannot be executed",
    137: "it was killed, perhaps for using too much memory",
}
