"""The real gateway: what every gateway keeps, and what this one does beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scheduler import gateway_lab
from tests.scheduler.contract import GatewayContract
from tests.scheduler.gateway_lab import Lab


@pytest.fixture(
    params=[
        pytest.param(None, id="wheel"),
        pytest.param(Path("/usr/sbin/haproxy"), id="system", marks=pytest.mark.requires("haproxy")),
    ]
)
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with gateway_lab.lab(request.param) as made:
        yield made


class TestHaproxyGateway(GatewayContract):
    """Both versions of HAProxy that are supported are held to the contract."""
