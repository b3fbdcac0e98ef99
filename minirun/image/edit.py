"""``--change``: the instructions of a Dockerfile that need no file system, applied to a config.

Next: ``build_state.py``, which carries them out.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import ImageError
from . import dockerfile
from .build_state import State
from .dockerfile_stages import check_flags
from .model import ContainerConfig

#: What ``docker commit`` and ``docker import`` take.
CHANGES = frozenset(
    "CMD ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL ONBUILD STOPSIGNAL USER VOLUME WORKDIR".split()
)


def changed(config: ContainerConfig, lines: Iterable[str]) -> ContainerConfig:
    """Return the config after some instructions.

    >>> changed(ContainerConfig(), ["ENV A=1", "WORKDIR /srv", 'CMD ["run"]']).cmd
    ('run',)

    Raises:
        ImageError: no instruction, or one that would change files.
    """
    for line in lines:
        file = dockerfile.parse(line, "--change")
        state = State(file, {}, {}, config=config)
        for instruction in file.instructions:
            if instruction.keyword not in CHANGES:
                raise ImageError(
                    f"--change cannot take {instruction.keyword}",
                    hint=f"one of: {', '.join(sorted(CHANGES))}",
                )
            check_flags(file, instruction)
            if not state.apply(instruction):
                state.set_workdir(instruction)
        config = state.config
    return config
