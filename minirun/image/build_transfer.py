"""COPY and ADD: where the files come from, what makes the step the same as before, the layer.

    a path or pattern     of the context, a stage, an image    its content is the key
    <<NAME                the lines below                      so are they
    https://…  (ADD)      fetched, or known by --checksum      so is its digest

With ``--link`` the layer is made on its own, on top of nothing: it stays the same whatever is
below, and never follows a link of the image.

Next: ``build_copy.py``, ``build_add.py`` and ``build_fetch.py``.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import ImageError
from . import build_add, build_fetch
from .build_cache import key_of
from .build_copy import Copier, Dress, target_of
from .build_ignore import Ignore
from .build_mode import parse_mode
from .build_rootfs import merged, owner_of
from .build_sources import Origin
from .dockerfile import Instruction
from .dockerfile_heredoc import Heredoc, heredoc_of
from .dockerfile_stages import expand_text, flags_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .build_stage import StageBuilder

_NUMBERS = re.compile(r"\d+(:\d+)?")
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class _Source:
    """One thing to copy: what identifies it, and how it is written."""

    key: object
    put: Callable[[Copier, str], None]


def copy(builder: StageBuilder, instruction: Instruction) -> None:
    """Carry out a COPY or an ADD."""
    state = builder.state
    if len(instruction.words) < 2:
        raise state.file.error(instruction, f"{instruction.keyword} needs a source and a target")
    flags = {
        name: [state.expand(instruction, value) for value in values]
        for name, values in flags_of(instruction).items()
    }
    target = target_of(state.expand(instruction, instruction.words[-1]), state.workdir)
    with builder.origin(instruction, flags.get("from", [""])[0]) as origin:
        job = _Job(builder, instruction, flags, origin)
        sources = job.sources()
        if len(sources) > 1 and not target.endswith("/"):
            hint = f"write {target}/"
            raise state.file.error(instruction, "several sources need a folder", hint=hint)
        _layer(builder, instruction, job, sources, target)


def _layer(
    builder: StageBuilder,
    instruction: Instruction,
    job: _Job,
    sources: Sequence[_Source],
    target: str,
) -> None:
    """Make the layer, or take it from the cache."""
    lowers = builder.session.lowers(builder.diff_ids())
    below = [] if job.is_on("link") else builder.diff_ids()
    dress = job.dress(lowers)
    keys = [source.key for source in sources]
    flags = sorted((k, v) for k, v in job.flags.items() if k not in ("chown", "checksum"))
    inputs = (keys, target, flags, dress.owner, job.origin.keep_owners)

    def write(upper: Path, work: Path) -> None:
        with (
            merged(builder.session.lowers(below), upper, work) as root,
            Copier(root, dress, job.exclude) as copier,
        ):
            for source in sources:
                source.put(copier, target)

    builder.layer(instruction, key_of(instruction.keyword, below, *inputs), write)


class _Job:
    """One COPY or ADD, its flags expanded."""

    def __init__(
        self,
        builder: StageBuilder,
        instruction: Instruction,
        flags: Mapping[str, list[str]],
        origin: Origin,
    ) -> None:
        self._builder = builder
        self._instruction = instruction
        self.flags = flags
        self.origin = origin
        self.exclude = Ignore("\n".join(flags.get("exclude", [])))

    def is_on(self, flag: str, default: str = "false") -> bool:
        """Return the value of a flag that is true or false."""
        text = self.flags.get(flag, [default])[0].lower()
        if text not in _TRUTH:
            raise ImageError(f"--{flag}={text} is neither true nor false")
        return _TRUTH[text]

    def dress(self, lowers: tuple[Path, ...]) -> Dress:
        """Return owner and mode from ``--chown`` and ``--chmod``; names are the image's own."""
        chown = self.flags.get("chown", [""])[0]
        chmod = self.flags.get("chmod", [""])[0]
        owner = None
        if chown:
            with merged(lowers) as root:
                owner = owner_of(root, chown)
        mode = parse_mode(chmod) if chmod else None
        return Dress(owner, mode, self._builder.session.epoch)

    def sources(self) -> list[_Source]:
        """Return what to copy, in order, each once."""
        *given, _ = self._instruction.words
        waiting = list(self._instruction.heredocs)
        found: list[_Source] = []
        for word in given:
            if waiting and not self._instruction.is_json and heredoc_of(word):
                found.append(self._document(waiting.pop(0)))
                continue
            source = self._builder.state.expand(self._instruction, word)
            if self._instruction.keyword == "ADD" and build_fetch.is_remote(source):
                found.append(self._remote(source))
            else:
                found += [new for new in self._local(source) if new.key not in _keys(found)]
        return found

    def _document(self, doc: Heredoc) -> _Source:
        body = doc.body()
        if doc.expand:
            state = self._builder.state
            body = expand_text(state.file, self._instruction, body, state.scope)
        content = body.encode("utf-8", "surrogateescape")
        return _Source((doc.name, body), lambda copier, to: copier.write(content, to, doc.name))

    # ---- files that are there --------------------------------------------------------------------

    def _local(self, pattern: str) -> Iterator[_Source]:
        if "checksum" in self.flags:
            raise ImageError(f"--checksum is for files from the web, not for {pattern}")
        parents = self._instruction.keyword == "COPY" and self.is_on("parents")
        unpacks = self._instruction.keyword == "ADD" and self.is_on("unpack", "true")
        for path in self.origin.find(pattern, crosses=parents):
            if self._is_excluded(path):
                continue
            kept = _kept_parents(pattern, path) if parents else -1
            name = (path, self._modes_above(path, kept)) if parents else posixpath.basename(path)
            key = [name, kept, self.origin.fingerprint(path, self.exclude)]
            yield _Source(key, self._putter(path, kept, unpacks=unpacks))

    def _putter(self, path: str, kept: int, *, unpacks: bool) -> Callable[[Copier, str], None]:
        def put(copier: Copier, target: str) -> None:
            if kept >= 0:
                copier.copy_below(self.origin, path, target, kept)
            elif unpacks:
                scratch = self._builder.session.writer.scratch
                build_add.add(copier, self.origin, path, target, scratch)
            else:
                copier.copy(self.origin, path, target)

        return put

    def _is_excluded(self, path: str) -> bool:
        """Return True for a file that ``--exclude`` names; folders are looked into instead."""
        if not self.exclude.hides(posixpath.basename(path)):
            return False
        with self.origin.item(path) as item:
            return not item.is_folder

    def _modes_above(self, path: str, kept: int) -> list[int]:
        parts = path.split("/")
        modes = []
        for depth in range(len(parts) - kept, len(parts)):
            with self.origin.item("/".join(parts[:depth])) as item:
                modes.append(stat.S_IMODE(item.facts.st_mode))
        return modes

    # ---- files from the web ----------------------------------------------------------------------

    def _remote(self, url: str) -> _Source:
        checksum = self.flags.get("checksum", [""])[0]
        if checksum:
            build_fetch.check_checksum(checksum)
        name = build_fetch.name_of(url) or "download"
        if name == "download" and self._names_folder():
            hint = "name the target file: ADD URL /folder/file"
            raise ImageError(f"{url} names no file", hint=hint)
        scratch = self._builder.session.writer.scratch
        fetched = None if checksum else build_fetch.fetch(url, scratch)
        key = ["web", name, checksum or (fetched.digest if fetched else "")]

        def put(copier: Copier, target: str) -> None:
            file = fetched or build_fetch.fetch(url, scratch, checksum)
            with _alone(file, name, url, scratch) as origin:
                if self.is_on("unpack"):
                    build_add.add(copier, origin, name, target, scratch)
                else:
                    copier.copy(origin, name, target)

        return _Source(key, put)

    def _names_folder(self) -> bool:
        """Return True where the file keeps its name: below a folder, as far as one can tell."""
        target = self._builder.state.expand(self._instruction, self._instruction.words[-1])
        return target.endswith("/") or target in (".", "..") or len(self._instruction.words) > 2


@contextmanager
def _alone(file: build_fetch.Fetched, name: str, url: str, scratch: str) -> Iterator[Origin]:
    """Yield a folder with nothing in it but a file from the web: root's, and private."""
    folder = tempfile.mkdtemp(dir=scratch)
    path = os.path.join(folder, name)
    os.link(file.path, path)
    os.chmod(path, 0o600)
    os.utime(path, (file.modified_s, file.modified_s))
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Origin(root, url)
    finally:
        os.close(root)


def _keys(sources: Sequence[_Source]) -> list[object]:
    return [source.key for source in sources]


def _kept_parents(pattern: str, path: str) -> int:
    """Return how many of the folders above a path stay: those after ``/./`` where that is written.

    >>> _kept_parents("./a/./b/c", "a/b/c"), _kept_parents("./a/b", "a/b")
    (1, 1)
    """
    above, pivot, _ = pattern.removeprefix("./").partition("/./")
    dropped = len([part for part in above.split("/") if part not in ("", ".")]) if pivot else 0
    return max(path.count("/") - dropped, 0)
