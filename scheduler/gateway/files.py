"""Files that are replaced as a whole: whoever reads one sees the old or the new, never half."""

from __future__ import annotations

from pathlib import Path


def replace_file(path: Path, text: str) -> None:
    """Replace a file. It need not outlive the machine, as the proxy does not either: no fsync."""
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.rename(path)
