"""``/metrics``: one text that a strict reader of Prometheus' format takes, gateway included."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from scheduler.app import create_app
from scheduler.gateway.meter import Gauge
from scheduler.gateway.metrics import exposition
from scheduler.observed import Route
from tests.scheduler.api_lab import Lab

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
_SAMPLE = re.compile(rf"({_NAME})(?:\{{((?:{_LABEL}(?:,{_LABEL})*)?)\}})? (\S+)")
_HEAD = re.compile(rf"# (HELP|TYPE) ({_NAME}) (.+)")


class Text:
    """Prometheus' text format 0.0.4, read without any indulgence.

    Each family is told once, in one piece: HELP, TYPE, then its samples. No series is told twice.
    """

    def __init__(self, text: str) -> None:
        assert text.endswith("\n")
        self.kinds: dict[str, str] = {}
        self.samples: dict[tuple[str, str], float] = {}
        self._helped = ""
        for line in text.removesuffix("\n").split("\n"):
            self._head(line) if line.startswith("#") else self._sample(line)

    def _head(self, line: str) -> None:
        found = _HEAD.fullmatch(line)
        assert found, line
        what, family, text = found.groups()
        assert family not in self.kinds, f"{family} is told twice"
        if what == "HELP":
            self._helped = family
        else:
            assert self._helped == family, f"{family} has no HELP before its TYPE"
            assert text in {"counter", "gauge"}, line
            assert (text == "counter") == family.endswith(("_total", "_sum")), line
            self.kinds[family] = text

    def _sample(self, line: str) -> None:
        found = _SAMPLE.fullmatch(line)
        assert found, line
        family, labels, value = found.groups()
        assert family == self._helped, f"{line}: not below its own HELP"
        assert family in self.kinds, f"{family} has no TYPE"
        series = family, labels or ""
        assert series not in self.samples, f"{line} is told twice"
        self.samples[series] = float(value)


@dataclass
class OneProxy:
    """The numbers of a gateway that serves one deployment."""

    restarts: int = 2
    pid: int = 1

    def is_ready(self) -> bool:
        return True

    def status(self) -> OneProxy:
        return self

    def ejected(self) -> set[str]:
        return {"web.1"}

    def gauges(self) -> dict[str, Gauge]:
        return {"web": Gauge(Route("web"), queued=3)}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with closing(Lab(tmp_path)) as made:
        yield made


def test_metrics_are_one_valid_text_with_the_gateway_s(lab: Lab) -> None:
    proxy = OneProxy()
    joined = replace(lab.control, metrics=lambda: exposition(proxy))  # type: ignore[arg-type]
    lab.client = create_app(joined).test_client()
    lab.put()
    lab.run()
    answer = lab.ask("GET", "/metrics")
    assert answer.mimetype == "text/plain"
    text = Text(answer.text)
    assert text.samples["minisched_gateway_queued", 'deployment="web"'] == 3
    assert text.samples["minisched_gateway_restarts_total", ""] == 2
    assert text.samples["minisched_replicas_ready", 'deployment="web"'] == 2
    assert text.samples["minisched_gateway_held", 'deployment="web"'] == 0
    assert text.samples["minisched_api_streams", ""] == 0


def test_metrics_without_a_gateway_are_valid_too(lab: Lab) -> None:
    assert Text(lab.ask("GET", "/metrics").text).kinds["minisched_host_cordoned"] == "gauge"


@pytest.mark.parametrize(
    "text",
    [
        "a 1",
        "# HELP a x\n# TYPE a gauge\na 1\na 2\n",
        "# HELP a x\n# TYPE a gauge\n# HELP b x\n# TYPE b gauge\na 1\n",
        "# HELP a x\n# TYPE a gauge\n# HELP a x\n",
        '# HELP a x\n# TYPE a gauge\na{b="\n"} 1\n',
    ],
)
def test_the_strict_reader_refuses(text: str) -> None:
    with pytest.raises(AssertionError):
        Text(text)
