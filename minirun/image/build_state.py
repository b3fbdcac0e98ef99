"""What a stage is so far: its layers, its configuration, and the ARGs in scope.

Metadata instructions change only this, and each is one short method here. Configuration never
becomes part of a cache key by itself; what a RUN step sees of it (environment, user, folder) does.

Next: ``build.py``, which calls these and does the rest.
"""

from __future__ import annotations

import posixpath
import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..container import sizes
from ..decode import decode, encode
from ..errors import ImageError, UsageError
from ..record import replace
from .dockerfile import Dockerfile, Instruction
from .dockerfile_stages import arguments, expand, flags_of
from .dockerfile_words import Lexer, WordError
from .model import ContainerConfig, Healthcheck, History, Presence
from .store import Layer

DEFAULT_SHELL = ("/bin/sh", "-c")
#: ARGs that exist without being declared: visible to RUN only, never recorded or part of a key.
PROXY_ARGS = (
    "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "FTP_PROXY", "ftp_proxy",
    "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy",
)  # fmt: skip
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)


@dataclass
class State:
    """A stage while it is built.

    Args:
        file: the Dockerfile, for messages.
        build_args: ``--build-arg`` values.
        global_args: ARGs from above FROM; in scope once the stage declares them.
        layers: lowest first.
        config: what the image will say.
        history: one line per instruction.
        args: the ARGs declared in this stage, with their values.
        author: of MAINTAINER.
        created: when the newest layer was made, as RFC 3339.
        base_layers: how many of the layers are the base image's.
        known_args: the names that ARG declared, with or without a value.
    """

    file: Dockerfile
    build_args: Mapping[str, str]
    global_args: Mapping[str, str]
    layers: list[Layer] = field(default_factory=list)
    config: ContainerConfig = field(default_factory=ContainerConfig)
    history: list[History] = field(default_factory=list)
    args: dict[str, str] = field(default_factory=dict)
    author: str = ""
    created: str = ""
    base_layers: int = 0
    known_args: set[str] = field(default_factory=set)
    _has_own_cmd: bool = False

    def dump(self) -> dict[str, object]:
        """Return what is not the same for all stages, as JSON can hold it."""
        return {
            "layers": [encode(layer) for layer in self.layers],
            "config": encode(self.config),
            "history": [encode(entry) for entry in self.history],
            "args": self.args,
            "author": self.author,
            "created": self.created,
            "base_layers": self.base_layers,
            "known_args": sorted(self.known_args),
        }

    def load(self, found: Mapping[str, Any]) -> State:
        """Return this state with what ``dump`` returned elsewhere."""
        self.layers = [decode(Layer, item) for item in found["layers"]]
        self.config = decode(ContainerConfig, found["config"])
        self.history = [decode(History, item) for item in found["history"]]
        self.args, self.author, self.created = found["args"], found["author"], found["created"]
        self.base_layers = found["base_layers"]
        self.known_args = set(found["known_args"])
        return self

    @property
    def env(self) -> dict[str, str]:
        """The ENV of the image so far."""
        return dict(pair.split("=", 1) if "=" in pair else (pair, "") for pair in self.config.env)  # type: ignore[misc] # a split into two

    @property
    def scope(self) -> dict[str, str]:
        """The variables that an instruction can use: ENV hides an ARG of the same name."""
        return {**self.args, **self.env}

    @property
    def workdir(self) -> str:
        """The current folder, absolute."""
        return self.config.working_dir or "/"

    @property
    def shell(self) -> tuple[str, ...]:
        """What runs the shell form."""
        return self.config.shell or DEFAULT_SHELL

    def expand(self, instruction: Instruction, word: str) -> str:
        """Return a word with variables replaced."""
        return expand(self.file, instruction, word, self.scope)

    def apply(self, instruction: Instruction) -> bool:
        """Carry out an instruction that changes no file; False for any other."""
        method = _METADATA.get(instruction.keyword)
        if method is None:
            return False
        try:
            method(self, instruction)
        except ImageError as error:
            if error.message.startswith(f"{self.file.name}:"):
                raise
            raise self.file.error(instruction, error.message, hint=error.hint) from error
        return True

    def set_workdir(self, instruction: Instruction) -> str:
        """Change the current folder; return it, for the caller to make."""
        given = self.expand(instruction, self._one(instruction))
        folder = posixpath.normpath(posixpath.join("/", self.workdir, given))
        folder = f"/{folder.lstrip('/')}"
        self._change(working_dir=folder)
        return folder

    # ---- one method per metadata instruction -----------------------------------------------------

    def _change(self, **changes: object) -> None:
        self.config = replace(self.config, **changes)

    def _error(self, instruction: Instruction, problem: str, hint: str = "") -> ImageError:
        return self.file.error(instruction, problem, hint=hint)

    def _one(self, instruction: Instruction) -> str:
        if len(instruction.words) != 1:
            raise self._error(instruction, f"{instruction.keyword} takes one argument")
        return instruction.words[0]

    def _pairs(self, instruction: Instruction) -> list[tuple[str, str]]:
        """Return the expanded pairs of ENV or LABEL; all see the values from before the line."""
        words = [self.expand(instruction, word) for word in instruction.words]
        if not words:
            raise self._error(instruction, f"{instruction.keyword} needs name=value")
        pairs = list(zip(words[::2], words[1::2], strict=True))
        if any(not name for name, _ in pairs):
            raise self._error(instruction, f"{instruction.keyword} has an empty name")
        return pairs

    def _env(self, instruction: Instruction) -> None:
        env = self.env | dict(self._pairs(instruction))
        self._change(env=tuple(f"{name}={value}" for name, value in env.items()))

    def _label(self, instruction: Instruction) -> None:
        self._change(labels={**self.config.labels, **dict(self._pairs(instruction))})

    def _arg(self, instruction: Instruction) -> None:
        for name, default in arguments(self.file, instruction, self.scope):
            value = self.build_args.get(name, default)
            if value is None:
                value = self.global_args.get(name)
            self.known_args.add(name)
            if value is not None:
                self.args[name] = value

    def _user(self, instruction: Instruction) -> None:
        self._change(user=self.expand(instruction, self._one(instruction)))

    def _cmd(self, instruction: Instruction) -> None:
        self._has_own_cmd = True
        self._change(cmd=self._command(instruction))

    def _entrypoint(self, instruction: Instruction) -> None:
        # The base's CMD was the argument of the base's ENTRYPOINT: it means nothing to another.
        kept = self.config.cmd if self._has_own_cmd else ()
        self._change(entrypoint=self._command(instruction), cmd=kept)

    def _command(self, instruction: Instruction) -> tuple[str, ...]:
        if instruction.is_json or not instruction.words:
            return instruction.words
        return (*self.shell, instruction.words[0])

    def _shell(self, instruction: Instruction) -> None:
        if not instruction.is_json or not instruction.words:
            raise self._error(instruction, "SHELL takes the JSON form", 'as in ["/bin/sh", "-c"]')
        self._change(shell=instruction.words)

    def _maintainer(self, instruction: Instruction) -> None:
        self.author = self._one(instruction)

    def _expose(self, instruction: Instruction) -> None:
        ports = dict(self.config.exposed_ports)
        for word in instruction.words:
            try:
                expanded = Lexer(self.file.escape).split(word, self.scope)
            except WordError as problem:
                raise self._error(instruction, f"{problem} in {word!r}") from problem
            ports |= {port: Presence() for text in expanded for port in _ports(text)}
        self._change(exposed_ports=ports)

    def _volume(self, instruction: Instruction) -> None:
        paths = [self.expand(instruction, word) for word in instruction.words]
        if not paths or not all(paths):
            raise self._error(instruction, "VOLUME needs a path")
        self._change(volumes={**self.config.volumes, **{path: Presence() for path in paths}})

    def _stop_signal(self, instruction: Instruction) -> None:
        name = self.expand(instruction, self._one(instruction))
        bare = name.upper().removeprefix("SIG")
        known = name.isdecimal() and 0 < int(name) <= 64
        if (
            not known
            and f"SIG{bare}" not in signal.Signals.__members__
            and not bare.startswith("RT")
        ):
            raise self._error(instruction, f"unknown signal {name!r}", "as in SIGTERM or 15")
        self._change(stop_signal=name)

    def _healthcheck(self, instruction: Instruction) -> None:
        kind = instruction.words[0].upper() if instruction.words else ""
        if kind == "NONE" and len(instruction.words) == 1:
            self._change(healthcheck=Healthcheck(test=("NONE",)))
            return
        command = instruction.words[1:]
        if kind != "CMD" or not command:
            raise self._error(instruction, "HEALTHCHECK takes NONE, or CMD and a command")
        test = ("CMD", *command) if instruction.is_json else ("CMD-SHELL", command[0])
        flags = {name: values[0] for name, values in flags_of(instruction).items()}
        retries = flags.pop("retries", "0")
        if not retries.isdecimal():
            raise self._error(instruction, f"--retries={retries} is not a number")
        times = {name.replace("-", "_"): duration_ns(text) for name, text in flags.items()}
        self._change(healthcheck=Healthcheck(test=test, retries=int(retries), **times))

    def _onbuild(self, instruction: Instruction) -> None:
        trigger = instruction.trigger
        if trigger is None or trigger.keyword in ("ONBUILD", "FROM", "MAINTAINER"):
            name = trigger.keyword if trigger else "nothing"
            raise self._error(instruction, f"ONBUILD cannot trigger {name}")
        line = re.sub(r"^\s*onbuild\s+", "", instruction.original, flags=re.IGNORECASE)
        self._change(on_build=(*self.config.on_build, line))


_METADATA: Mapping[str, Callable[[State, Instruction], None]] = {
    "ARG": State._arg,  # the table of this class's own methods
    "CMD": State._cmd,
    "ENTRYPOINT": State._entrypoint,
    "ENV": State._env,
    "EXPOSE": State._expose,
    "HEALTHCHECK": State._healthcheck,
    "LABEL": State._label,
    "MAINTAINER": State._maintainer,
    "ONBUILD": State._onbuild,
    "SHELL": State._shell,
    "STOPSIGNAL": State._stop_signal,
    "USER": State._user,
    "VOLUME": State._volume,
}


def _ports(text: str) -> list[str]:
    """Return ``port/protocol`` for a port or a range of ports.

    >>> _ports("8000-8001/UDP")
    ['8000/udp', '8001/udp']
    """
    match = _PORT.fullmatch(text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if match is None or not 0 < first <= last <= 65535:
        raise ImageError(f"invalid port {text!r}", hint="as in 8080, 53/udp or 8000-8010")
    protocol = (match[3] or "tcp").lower()
    return [f"{port}/{protocol}" for port in range(first, last + 1)]


def duration_ns(text: str) -> int:
    """Return a duration as Go writes it, in nanoseconds; see ``sizes.duration_ns``.

    Raises:
        ImageError: it has no unit, or one that does not exist.
    """
    try:
        return sizes.duration_ns(text)
    except UsageError as error:
        raise ImageError(error.message, hint=error.hint) from error
