"""What is written can be read again, whatever it is; what was not written is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scheduler.apply import created
from scheduler.codec import CodecError, decode, encode
from scheduler.entry import Entry
from scheduler.model import Deployment, Quota, Secret, Template, Volume
from scheduler.policy import ExecCheck, HttpCheck, Probe, Probes, TcpCheck

CALM = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
SMALL = Deployment("web", Template("good", port=80, probes=Probes(liveness=Probe(TcpCheck(80)))))


@CALM
@given(st.from_type(Entry))
def test_any_entry_comes_back(entry: Entry) -> None:
    text = json.dumps(encode(entry))
    again = decode(Entry, json.loads(text))
    assert json.dumps(encode(again)) == text  # by their texts: a NaN does not equal itself


@CALM
@given(st.from_type(Quota))
def test_any_quota_comes_back(quota: Quota) -> None:
    assert decode(Quota, json.loads(json.dumps(encode(quota)))) == quota


@pytest.mark.parametrize("check", [HttpCheck("/", 80), TcpCheck(), ExecCheck(("true",))])
def test_a_check_keeps_its_class(check: HttpCheck | TcpCheck | ExecCheck) -> None:
    assert decode(Probe, encode(Probe(check))) == Probe(check)


def test_a_field_that_was_not_there_yet_takes_its_default() -> None:
    data = encode(SMALL)
    del data["priority"], data["template"]["read_only"]
    assert decode(Deployment, data) == SMALL


def test_a_whole_number_is_a_duration() -> None:
    assert decode(Probe, {"check": {"is": "TcpCheck"}, "period_s": 3}).period_s == 3.0


def _refused(**changes: object) -> str:
    with pytest.raises(CodecError) as caught:
        decode(Deployment, {**encode(SMALL), **changes})
    return caught.value.message


def test_what_does_not_fit_is_refused_by_its_place() -> None:
    assert _refused(colour="red") == "$.colour: unknown field of Deployment"
    assert _refused(replicas="2") == "$.replicas: int is expected, not str"
    assert _refused(replicas=True) == "$.replicas: int is expected, not bool"
    assert _refused(kind="pod") == "$.kind: 'pod' is no Kind"
    assert _refused(labels=[]) == "$.labels: object is expected, not list"
    assert _refused(labels={"a": 1}) == "$.labels.a: str is expected, not int"
    template = encode(SMALL.template)
    assert _refused(template={**template, "command": "ls"}).startswith("$.template.command: array")
    assert (
        _refused(template={**template, "secrets": [{}]}) == "$.template.secrets[0].source: missing"
    )
    probes = {"liveness": {"check": {"is": "Guess"}}}
    assert "expected one of HttpCheck" in _refused(template={**template, "probes": probes})


def test_a_fixed_number_of_elements_is_counted() -> None:
    data = encode(created(SMALL, 1.0))
    with pytest.raises(CodecError, match="best: 4 elements are expected, not 1"):
        decode(Entry, {**data, "rollout": {"best": [1]}})


def test_every_field_is_written_also_a_default() -> None:
    template = replace(SMALL.template, secrets=(Secret("key"),), volumes=(Volume("bind", "/x"),))
    data = encode(replace(SMALL, template=template))
    assert data["priority"] == 50
    assert data["template"]["secrets"] == [
        {"source": "key", "target": "", "uid": 0, "gid": 0, "mode": 0o444}
    ]
