"""Steps that run programs of the caller. Many containers have none: then this is not imported.

A plan that runs hooks imports it, so that ``run_hooks`` is in memory before the root changes.

See: config.md, POSIX-platform Hooks; ``../hooks.py``, which runs one. Next: ``handoff.py``.
"""

from __future__ import annotations

from ..hooks import run_hooks
from .base import Context, Step, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

    from ..spec import Hook


class RunHooks(Step):
    """Programs of the caller, at a fixed moment."""

    id: ClassVar = "hooks"
    why: ClassVar = "the engine adds what only it knows: networks, GPUs, policy"
    man: ClassVar = "config.md, POSIX-platform Hooks"
    check: ClassVar = "add a hook that writes its standard input to a file"
    without: ClassVar = "docker --gpus and CNI plugins do nothing"

    kind: str
    hooks: tuple[Hook, ...]
    status: str
    env: tuple[str, ...] | None = None

    @property
    def title(self) -> str:
        """Say which."""
        return f"{self.id} {self.kind}"

    @property
    def call(self) -> tuple[str, ...]:
        """One execve for each."""
        return tuple(f"execve({quoted(hook.path)}" for hook in self.hooks)

    def apply(self, context: Context) -> None:
        """Run them here, in this process's namespaces."""
        run_hooks(self.kind, self.hooks, context.state(self.status), self.env)


class RunRuntimeHooks(RunHooks):
    """The hooks that belong to the host's side."""

    lane: ClassVar = "R"
