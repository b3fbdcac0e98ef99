"""The supervisor of one container: starts it, keeps its output, remembers how it ended.

    CLI or launcher ─ fork ─▶ shim ─ fork ─▶ init            the shim is init's parent
                               └──── fork ─▶ standby         takes over when the shim is killed

Every container has a shim, in the foreground too: then killing the CLI with -9 loses neither the
container nor its exit code, and ``minirun logs`` works for all of them. It holds no state that its
files do not hold.

Read ``frames.py`` (what is said to clients), ``streams.py`` (output and input), ``run.py`` (one
start of the container), ``ending.py`` (why it ended), ``supervise.py`` (the loop), ``standby.py``.

May not import ``cli``, ``image`` or anything above ``container``.
"""
