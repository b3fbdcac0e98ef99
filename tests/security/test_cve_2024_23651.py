"""CVE-2024-23651, CVE-2024-23652, CVE-2024-1753: a build reaches the host through ``RUN --mount``.

Mechanism: what is mounted comes from a stage that the Dockerfile's author filled, and it is mounted
on something that the builder made for it. BuildKit and podman looked for both by name: a link of
the stage led to the host's files, and a command that exchanged the folder around its mount point
had the builder tidy up on the host.

Defence: ``build_lend.py`` walks the source with the stage as its root; ``build_mounts.py`` removes
what it made by descriptors that were open all the time.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from minirun.errors import MinirunError
from minirun.image import build_lend, build_mounts
from tests.integration.build_lab import Workshop

pytestmark = pytest.mark.requires("root", "busybox", "overlay")

SECRET = "the secret of the host"


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    made = Workshop(tmp_path)
    made.make_base()
    canary = tmp_path / "canary"
    (canary / "stub").mkdir(parents=True)
    (canary / "secret").write_text(SECRET)
    return made


# ── the source ────────────────────────────────────────────────────────────────────────────────


def stolen(shop: Workshop) -> str:
    """Return what a build puts into its image that mounts a path of a hostile stage."""
    canary = shop.context.parent / "canary"
    try:
        image = shop.build(f"""
            FROM base AS evil
            RUN ln -s {canary} /way
            FROM base
            RUN --mount=from=evil,source=/way/secret,target=/s cat /s > /said
            """)
    except MinirunError:
        return ""
    return shop.read(image, "/said")


def test_weak_build_mounts_the_hosts_file(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_by_name(root: int, path: str, flags: int) -> int:
        return os.open(os.readlink(f"/proc/self/fd/{root}") + "/" + path, flags)

    monkeypatch.setattr(build_lend, "open_in", open_by_name)
    assert stolen(shop) == SECRET


def test_source_is_in_its_stage(shop: Workshop) -> None:
    assert stolen(shop) == ""


# ── the mount point ───────────────────────────────────────────────────────────────────────────


def survives(shop: Workshop) -> bool:
    """Exchange the folder around a mount point for a link; whether the host's folder is there."""
    canary = shop.context.parent / "canary"
    shop.build(f"""
        FROM base
        RUN --mount=type=tmpfs,target=/made/stub mv /made /moved && ln -s {canary} /made
        """)
    return (canary / "stub").is_dir()


class ByName:
    """Something that was made, remembered by its path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parent = os.open("/", os.O_PATH)

    def remove(self) -> None:
        with suppress(OSError):
            self.path.rmdir()


def test_weak_build_tidies_up_on_the_host(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def remember(upper: Path, paths: list[str]) -> list[ByName]:
        return [ByName(upper / path) for path in paths]

    monkeypatch.setattr(build_mounts, "_held", remember)
    assert not survives(shop)


def test_mount_point_is_removed_where_it_was_made(shop: Workshop) -> None:
    assert survives(shop)
