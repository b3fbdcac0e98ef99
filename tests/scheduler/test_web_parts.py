"""The parts of the pages by themselves: samples, curves, the reference; a list that is long."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from markupsafe import Markup

from scheduler import apply
from scheduler.api import openapi
from scheduler.api.operation import OPERATIONS
from scheduler.control import Usage
from scheduler.model import Deployment, Template
from scheduler.observed import Observed
from scheduler.web.curves import HEIGHT, WIDTH, curve
from scheduler.web.history import KEPT, History
from scheduler.web.reference import Reference
from tests.scheduler.api_lab import Lab
from tests.scheduler.web_lab import HOSTILE


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with closing(Lab(tmp_path)) as made:
        yield made


# ---- samples ------------------------------------------------------------------------------------


def test_counters_become_rates(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    used = {"cpu_s": 10.0}

    def usage() -> dict[str, Usage]:
        return {"web.1": Usage(used["cpu_s"], 3 << 20, 1 << 24, 1500)}

    monkeypatch.setattr(lab.insides, "usage", usage)
    lab.put(replicas=1)
    lab.run()
    past = History(lab.control)
    past.take()
    assert past.of("web") == [], "a rate needs two moments"
    for _ in range(8):
        lab.gateway.request("web", 1.0)
    used["cpu_s"] += 1.0
    lab.run(4.0)
    past.take()
    (sample,) = past.of("web")
    assert sample.rps == pytest.approx(2, rel=1e-3)
    assert sample.latency_ms == pytest.approx(1500, rel=1e-3)
    assert sample.cpu_millis == pytest.approx(250, rel=1e-3)
    assert sample.cpu_limit_millis == 1500
    assert (sample.memory_bytes, sample.memory_limit_bytes) == (3 << 20, 1 << 24)
    past.take()
    assert len(past.of("web")) == 1, "no time has passed"
    lab.run(2.0)
    past.take()
    assert past.of("web")[-1].rps == 0
    assert math.isnan(past.of("web")[-1].latency_ms), "nothing was answered"


def test_counters_that_begin_again_are_no_negative_rates(lab: Lab) -> None:
    lab.put(replicas=1)
    lab.run()
    past = History(lab.control)
    for _ in range(5):
        lab.gateway.request("web", 0.5)
    lab.run(2.0)
    past.take()
    lab.gateway.totals.clear()
    lab.run(2.0)
    past.take()
    (sample,) = past.of("web")
    assert (sample.rps, sample.errors_per_s) == (0, 0)


def test_old_samples_and_those_of_the_deleted_are_forgotten(lab: Lab) -> None:
    lab.put(replicas=0)
    past = History(lab.control)
    for _ in range(KEPT + 5):
        lab.clock.now += 2
        past.take()
    assert len(past.of("web", 2 * KEPT)) == KEPT
    lab.expect("DELETE", "deployments/web", status=202)
    lab.run()
    past.take()
    assert past.of("web") == []


def test_samples_are_taken_until_it_is_closed(lab: Lab) -> None:
    looked = 0

    def observed() -> Observed:
        nonlocal looked
        looked += 1
        raise OSError("for a moment nobody can be asked")

    past = History(replace(lab.control, observed=observed))
    past.begin()
    until = time.monotonic() + 30
    while not looked:
        assert time.monotonic() < until
        time.sleep(0.01)
    past.close()
    assert not past._thread.is_alive()


# ---- curves -------------------------------------------------------------------------------------


def shapes(drawn: Markup) -> dict[str, list[str]]:
    """Return the paths of a curve by their class."""
    found: dict[str, list[str]] = {}
    for path in ET.fromstring(drawn).iter("path"):
        found.setdefault(path.attrib["class"], []).append(path.attrib["d"])
    return found


def test_a_curve_has_a_gap_where_nothing_was_measured() -> None:
    drawn = shapes(curve([1, 2, math.nan, 3, 4], "requests", most=5))
    assert len(drawn["line"]) == len(drawn["area"]) == 2


def test_a_curve_stays_within_its_frame_and_below_its_limit() -> None:
    drawn = shapes(curve([0, 5, 10], "memory", most=150, limit=20.0))
    points = [tuple(map(float, p.split())) for p in re.split("[ML]", drawn["line"][0])[1:]]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
    (limit,) = re.findall(r"M0 ([\d.]+)", drawn["limit"][0])
    assert float(limit) < min(y for _, y in points)
    assert points[0][0] > WIDTH * 0.9, "a young deployment has a short past"


def test_a_level_curve_is_two_points_however_long() -> None:
    assert shapes(curve([7.0] * 150, "x", most=150))["line"][0].count("L") == 1
    assert shapes(curve([], "x", most=150)) == {}


def test_a_curve_says_what_it_shows_and_no_more() -> None:
    drawn = ET.fromstring(curve([1.0], HOSTILE, most=5))
    assert drawn.attrib["aria-label"] == HOSTILE
    assert not list(drawn.iter("script"))


# ---- reference ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference(openapi.document())


def test_the_reference_has_every_operation_and_schema(lab: Lab) -> None:
    page = lab.client.get("/docs").text
    document = lab.get("openapi.json")
    assert isinstance(document["components"], dict)
    for operation in OPERATIONS:
        assert f'id="{operation.name}"' in page
        assert (operation.scope or "no token") in page
    for name in document["components"]["schemas"]:
        assert f'id="schema-{name}"' in page
    targets = set(re.findall(r'href="#([^"]+)"', page))
    assert targets <= set(re.findall(r'id="([^"]+)"', page)), "no link leads nowhere"


def test_the_examples_of_the_reference_are_accepted(reference: Reference) -> None:
    schemas = openapi.document()["components"]["schemas"]
    for operation in OPERATIONS:
        if operation.body:
            example = reference.example(schemas[operation.body.__name__])
            operation.body.model_validate_json(json.dumps(example))


# ---- many ---------------------------------------------------------------------------------------


def test_a_list_of_a_thousand_deployments_is_there_at_once(lab: Lab) -> None:
    entries = {}
    for i in range(1000):
        name = f"model-{i:04}"
        entries[name] = apply.created(Deployment(name, Template("good", port=80)), 0.0, "test", 1)
    lab.store.commit(entries, ())
    past = lab.app.extensions["minisched"].history
    for _ in range(5):
        lab.clock.now += 2
        past.take()
    lab.ask("GET", "/")
    took = []
    for page in range(1, 6):
        began = time.thread_time()
        assert lab.ask("GET", f"/?page={page}").text.count('class="spark"') == 50
        took.append(time.thread_time() - began)
    assert min(took) < 0.5, "a tenth of that, on a machine that has nothing else to do"
