"""The pages of a whole scheduler: real replicas, the real gateway, a browser's way in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scheduler import serve_lab
from tests.scheduler.serve_lab import Lab, Load, wait_until
from tests.scheduler.test_web_dashboard import Door, dashboard
from tests.scheduler.test_web_metrics import Text

pytestmark = pytest.mark.requires("root", "overlay", "cgroups", "busybox")


@pytest.fixture
def lab(tiny: Path) -> Iterator[Lab]:
    with serve_lab.lab(tiny) as made:
        made.start()
        yield made


def now(door: Door) -> dict[str, str]:
    """Return what each curve of the page says it is at."""
    _, _, page = door.ask("GET", "/deployments/web")
    return dict(re.findall(r"<figcaption>([\w ]+)<b>([^<]+)</b>", page))


def test_the_pages_show_what_really_runs(lab: Lab) -> None:
    lab.deploy("web", replicas=2, resources={"limits": {"memory_bytes": 64 << 20}})
    lab.wait_running("web", 2)
    with dashboard(lab.environment["MINISCHED_ADDRESS"]) as door, Load(lab, "web"):
        assert door.open_link() == 200
        wait_until(lambda: now(door)["Requests"] not in ("0/s", "-"), "requests are seen", lab.told)
        wait_until(lambda: "ms" in now(door)["Latency"], "they take time", lab.told)
        assert now(door)["Memory"] != "0 B"
        _, _, page = door.ask("GET", "/deployments/web")
        assert "of 128 MiB" in page
        assert "2</b> of 2 ready" in page
        answer = door.press("predict", method="GET", path="/")
        assert "200 OK" in answer
        assert "well" in answer
    text = Text(lab.client.metrics())
    assert text.samples["minisched_gateway_up", ""] == 1
    assert text.samples["minisched_gateway_requests_total", 'deployment="web",pool="stable"'] > 10
    assert text.samples["minisched_gateway_queued", 'deployment="web"'] == 0
