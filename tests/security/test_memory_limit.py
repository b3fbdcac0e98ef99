"""P6: a memory limit that is smaller than the runtime itself.

Mechanism: the process that becomes the container joins its control group while it is still an
interpreter. With a small limit the kernel kills it in the middle of the setup, and without a word
the caller waits for ever, or is told about a broken pipe.

Defence: a forked child owns little memory of its own, so small limits work; where they do not, the
end of the conversation is an error with a hint, and everything is taken back (``runner.py``).
"""

from __future__ import annotations

import sys

import pytest

from tests.security.lab import Bundle, attempt

pytestmark = pytest.mark.requires("root", "busybox", "cgroups")

MIB = 1 << 20


@pytest.mark.parametrize("limit", [8 * MIB, 12 * MIB])
def test_small_limit_is_enough_to_start(bundle: Bundle, limit: int) -> None:
    bundle.config["linux"]["resources"] = {"memory": {"limit": limit}}
    bundle.script("echo alive")

    outcome = attempt(bundle)

    assert outcome.output == "alive\n", outcome


def test_large_program_starts_a_small_container(bundle: Bundle) -> None:
    """What if whoever forks init has much to forget: what it frees would be copied before."""

    def know_much() -> None:
        words = [f"{number}" * 8 for number in range(200_000)]
        kept.extend(words[::9])  # no page of theirs becomes free as a whole
        sys.path_importer_cache["much"] = words  # type: ignore[assignment]

    kept: list[str] = []
    bundle.config["linux"]["resources"] = {"memory": {"limit": 8 * MIB}}
    bundle.script("echo alive")

    outcome = attempt(bundle, know_much)

    assert outcome.output == "alive\n", outcome


@pytest.mark.parametrize("limit", [4096, 64 << 10])
def test_limit_too_low_is_told(bundle: Bundle, limit: int) -> None:
    """The witness checks that neither group nor state is left of it."""
    bundle.config["linux"]["resources"] = {"memory": {"limit": limit}}

    outcome = attempt(bundle)

    assert not outcome.ran, outcome
    assert "limit" in outcome.hint or "killed for memory" in outcome.hint, outcome
    assert not outcome.crash, outcome
