"""Bodies and answers of the API as pydantic models; the OpenAPI document is made from them."""

from __future__ import annotations

from .base import Body, Listed, Query, View
from .deployment import DeploymentSpec, deployment_of, spec_of

__all__ = ["Body", "DeploymentSpec", "Listed", "Query", "View", "deployment_of", "spec_of"]
