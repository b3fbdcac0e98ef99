"""A plan, told: what each step does, why, how to check it, and what goes wrong without it.

    [12/38] I make-mounts-private
        why      stop mount events from flowing to the host
        call     mount(NULL, "/", NULL, MS_REC|MS_PRIVATE, NULL)
        see      mount_namespaces(7), SHARED SUBTREES
        check    grep shared: /proc/PID/mountinfo
        without  the host is littered with our mounts, and pivot_root gives EINVAL

The words are the steps' own (``steps/``), and a test compares the calls with what strace sees, so
what is told is what is done. Lanes: R is the runtime on the host, M the process in between, where
one is needed, I the container's own first process.

``document`` returns, for ``--format json``::

    {"version": 1, "steps": [{"number": 1, "of": 38, "lane": "R", "id": "create-cgroup",
     "title": "create-cgroup", "why": "…", "call": ["…"], "see": "…", "check": "…",
     "without": "…", "detail": [{"call": "…", "why": "…"}]}]}

``detail`` is there where a step is many small ones, as attaching a network is.

Pure. Next: ``runner.py``, which does what is told here.
"""

from __future__ import annotations

from .record import EMPTY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from .plan import Plan
    from .steps.base import Step

    #: {step id: what it consists of, as (call, why)}
    Details = Mapping[str, Sequence[tuple[str, str]]]

LANES = {
    "R": "runtime, on the host",
    "M": "in between, only where namespaces are joined",
    "I": "the container's init",
}
_BOLD, _DIM, _LANE, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[36m", "\x1b[0m"
_LONGEST = 160


def text(plan: Plan, details: Details = EMPTY, *, colour: bool = False) -> str:
    """Return the plan for reading on a terminal."""
    total = len(plan.steps)
    blocks = [
        _heading(number, total, step.lane, step.title, colour=colour) + _body(step, details, colour)
        for number, step in enumerate(plan.steps, start=1)
    ]
    return "\n".join(blocks)


def _heading(number: int, total: int, lane: str, title: str, *, colour: bool) -> str:
    if colour:
        return f"{_DIM}[{number}/{total}]{_PLAIN} {_LANE}{lane}{_PLAIN} {_BOLD}{title}{_PLAIN}\n"
    return f"[{number}/{total}] {lane} {title}\n"


def _body(step: Step, details: Details, colour: bool) -> str:
    rows = [("why", step.why), *(("call", _shortened(call)) for call in step.call)]
    for call, why in details.get(step.id, ()):
        rows.append(("does", f"{_shortened(call)}  # {why}"))
    rows += [("see", step.man), ("check", step.check), ("without", step.without)]
    dim, plain = (_DIM, _PLAIN) if colour else ("", "")
    return "".join(f"    {dim}{name:<8}{plain} {line}\n" for name, line in _once(rows))


def _once(rows: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield the rows, a name only where it differs from the one above."""
    before = ""
    for name, line in rows:
        yield ("" if name == before else name), line
        before = name


def _shortened(call: str) -> str:
    """Return a call that fits a screen: an overlay of many layers is a very long argument.

    A step's text stops where the rest depends on the moment: an ellipsis closes what is open.

    >>> _shortened("prctl(PR_CAPBSET_DROP, ")
    'prctl(PR_CAPBSET_DROP, …)'
    >>> _shortened('mkdir("/sys/fs/cgroup/x"')
    'mkdir("/sys/fs/cgroup/x", …)'
    """
    whole = call if len(call) <= _LONGEST else call[: _LONGEST - 1] + "…"
    quote = '"' if whole.count('"') % 2 else ""
    braces = "}" * (whole.count("{") - whole.count("}"))
    brackets = ")" * (whole.count("(") - whole.count(")"))
    if not quote + braces + brackets:
        return whole
    if quote or whole.endswith("…"):
        return whole.rstrip("…") + "…" + quote + braces + brackets
    open_end = whole.rstrip()
    separator = "" if open_end[-1] in "(=" else " " if open_end.endswith(",") else ", "
    return open_end + separator + "…" + braces + brackets


def live(facts: Mapping[str, Any], *, colour: bool = False) -> str:
    """Return a step that has just been done, with its time; ``facts`` are the shim's STEP frame."""
    milliseconds = float(facts["seconds"]) * 1000
    lane, title = str(facts["lane"]), str(facts["title"])
    head = f"{_LANE}{lane}{_PLAIN} {_BOLD}{title}{_PLAIN}" if colour else f"{lane} {title}"
    dim, plain = (_DIM, _PLAIN) if colour else ("", "")
    lines = [f"[{int(facts['index']) + 1}] {head}  {dim}{milliseconds:.2f} ms{plain}"]
    lines.append(f"    {facts['why']}")
    lines += [f"    {dim}{_shortened(call)}{plain}" for call in facts["call"]]
    return "\n".join(lines) + "\n"


def document(plan: Plan, details: Details = EMPTY) -> dict[str, Any]:
    """Return the plan as JSON values; the schema is in this module's docstring."""
    total = len(plan.steps)
    steps = []
    for number, step in enumerate(plan.steps, start=1):
        told = {
            "number": number,
            "of": total,
            "lane": step.lane,
            "id": step.id,
            "title": step.title,
            "why": step.why,
            "call": list(step.call),
            "see": step.man,
            "check": step.check,
            "without": step.without,
        }
        if step.id in details:
            told["detail"] = [{"call": call, "why": why} for call, why in details[step.id]]
        steps.append(told)
    return {"version": 1, "steps": steps}


def markdown(plan: Plan, details: Details = EMPTY, title: str = "A container start") -> str:
    """Return the plan as a page: an overview, then one section per step."""
    total = len(plan.steps)
    lines = [f"# {title}", "", f"{total} steps, in kernel order. Lanes:", ""]
    lines += [f"- **{lane}**: {what}" for lane, what in LANES.items()]
    lines += ["", "| # | lane | step | why |", "|---|---|---|---|"]
    for number, step in enumerate(plan.steps, start=1):
        lines.append(f"| {number} | {step.lane} | {step.title} | {_cell(step.why)} |")
    for number, step in enumerate(plan.steps, start=1):
        lines += ["", f"## {number}. {step.title}", "", f"{_sentence(step.why)}", "", "```c"]
        lines += [_shortened(call) for call in step.call]
        lines += ["```", ""]
        for call, why in details.get(step.id, ()):
            lines.append(f"- `{_shortened(call)}`: {why}")
        if step.id in details:
            lines.append("")
        lines += [f"- See: {step.man}", f"- Check: `{step.check}`", f"- Without: {step.without}"]
    return "\n".join(lines) + "\n"


def _cell(words: str) -> str:
    return words.replace("|", "\\|")


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:] + "."
