"""The layer below all layers is made once, whoever asks for it first."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from minirun.engine.foundation import foundation

if TYPE_CHECKING:
    from minirun.engine.home import Home


def test_foundation_that_many_ask_for_at_once_is_made_for_all(tmp_path: Path) -> None:
    """What if one process starts two replicas, the first that ever ran here."""
    (tmp_path / f"foundation.{os.getpid()}").mkdir()  # by one that was killed, whose pid is ours
    home = cast("Home", SimpleNamespace(data=str(tmp_path)))
    together = Barrier(8)

    def ask(_number: int) -> str:
        together.wait(30)
        return foundation(home)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {f"{tmp_path}/foundation"}
    assert (tmp_path / "foundation/etc/hosts").is_file()
    assert len(list(tmp_path.iterdir())) == 2
