"""System call filters: which calls a container may make, decided by a program in the kernel.

    profile.py    Docker's profile files, with their conditions → linux.seccomp     pure
    words.py      linux.seccomp → numbers, or a SpecError with the JSON path        pure
    bpf.py        the instructions of our own parts                                 pure
    enosys.py     a prologue: calls newer than the profile do not exist             pure
    arguments.py  comparisons that libseccomp would merge wrongly                   pure
    library.py    libseccomp, loaded without running ldconfig or gcc
    compile.py    numbers → a BPF program
    cache.py      the same, remembered: what a start calls

    program = compiled(spec.linux.seccomp, cache_dir)  # or default_filter(capabilities, …)
    kernel.seccomp_set_mode_filter(program, load_flags(spec.linux.seccomp))

The parent compiles, init loads: nothing here may run inside a container.
"""

from __future__ import annotations

from .cache import compiled, default_filter, load_flags, needs_listener

__all__ = ["compiled", "default_filter", "load_flags", "needs_listener"]
