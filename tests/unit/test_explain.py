"""The words of explain: complete, the same in every format, and those of the page in docs/."""

from __future__ import annotations

import json
from pathlib import Path

from minirun import explain
from minirun.container.options import RunOptions
from minirun.container.readflags import Surroundings, from_flags
from minirun.engine.home import Home
from minirun.engine.preview import Preview, preview

PAGE = Path(__file__).parents[2] / "docs/container-start.md"


def told(options: RunOptions | None = None) -> Preview:
    return preview(Home("/nowhere", "/nowhere"), "", options or RunOptions())


def test_text_numbers_every_step_and_says_all_about_it() -> None:
    plan = told().plan
    text = explain.text(plan)
    total = len(plan.steps)
    for number, step in enumerate(plan.steps, start=1):
        assert f"[{number}/{total}] {step.lane} {step.title}" in text
        assert step.why in text
        assert step.without in text
    assert "\x1b" not in text


def test_text_has_colours_only_when_asked() -> None:
    assert "\x1b[" in explain.text(told().plan, colour=True)


def test_document_is_json_and_says_the_same() -> None:
    found = told()
    document = json.loads(json.dumps(explain.document(found.plan, found.details)))
    assert document["version"] == 1
    assert [step["id"] for step in document["steps"]] == [step.id for step in found.plan.steps]
    fields = {"number", "of", "lane", "id", "title", "why", "call", "see", "check", "without"}
    assert all(fields <= step.keys() for step in document["steps"])


def test_network_is_told_call_by_call() -> None:
    options = from_flags({"publish": ["8080:80"]}, (), Surroundings({}, "/"))
    found = told(options)
    assert "8080" in explain.text(found.plan, found.details)
    assert any("RTM_NEWLINK" in call for call, _ in found.details["attach-network"])


def test_options_change_the_plan() -> None:
    plain = {step.id for step in told().plan.steps}
    guarded = told(from_flags({"read_only": True, "memory": "64m"}, (), Surroundings({}, "/")))
    assert "readonly-root" in {step.id for step in guarded.plan.steps} - plain


def test_live_tells_a_step_and_its_time() -> None:
    facts = {"index": 4, "seconds": 0.00123, "lane": "I", "title": "t", "why": "w", "call": ["c()"]}
    assert explain.live(facts) == "[5] I t  1.23 ms\n    w\n    c()\n"


def test_page_in_docs_is_what_explain_prints() -> None:
    """What if a step is changed: minirun explain --format markdown > docs/container-start.md."""
    found = told()
    assert PAGE.read_text() == explain.markdown(found.plan, found.details)
