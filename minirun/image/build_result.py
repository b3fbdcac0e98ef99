"""The last stage becomes an image: config, history, names.

Next: ``build_export.py``, for results that are something else.
"""

from __future__ import annotations

from ..record import replace
from .build_platform import host_architecture
from .build_session import Session
from .build_state import State
from .model import History, ImageConfig, RootFs
from .store import Image


def write_image(session: Session, state: State, names: tuple[str, ...]) -> Image:
    """Make the image visible, with its names."""
    config = replace(state.config, labels={**state.config.labels, **session.options.labels})
    history = tuple(
        replace(entry, created=entry.created or state.created) for entry in state.history
    )
    document = ImageConfig(
        architecture=host_architecture(),
        os="linux",
        rootfs=RootFs("layers", tuple(layer.diff_id for layer in state.layers)),
        config=config,
        created=session.now if session.epoch is not None else state.created or session.now,
        author=state.author,
        history=_with_layers(history, state),
    )
    notes = session.options.annotations
    return session.writer.write_image(document, state.layers, names, notes)


def _with_layers(history: tuple[History, ...], state: State) -> tuple[History, ...]:
    """Return the history, which must name each layer: a base without one gets a line for each."""
    named = sum(not entry.empty_layer for entry in history)
    missing = len(state.layers) - named
    return (*(History(comment="base") for _ in range(missing)), *history)
