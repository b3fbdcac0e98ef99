"""/v1/host and /v1/images: what replicas are placed on, and made of."""

from __future__ import annotations

from flask import Blueprint

from ..control import ImageInfo, capacity
from ..control.capacity import HostStatus
from ..store import Scope
from .operation import Call, NoBody, NoQuery, operation
from .schemas import Listed

bp = Blueprint("host", __name__, url_prefix="/v1")
_HOST = {200: HostStatus}


@operation(bp, "GET", "/host", scope=Scope.READ, answers=_HOST)
def get_host(call: Call[NoBody, NoQuery]) -> object:
    """Return what the host has, and what of it is given to whom."""
    return capacity.host_status(call.control)


@operation(bp, "POST", "/host/cordon", scope=Scope.ADMIN, answers=_HOST)
def cordon_host(call: Call[NoBody, NoQuery]) -> object:
    """Place nothing new on this host."""
    capacity.cordon(call.control, cordoned=True)
    return capacity.host_status(call.control)


@operation(bp, "POST", "/host/uncordon", scope=Scope.ADMIN, answers=_HOST)
def uncordon_host(call: Call[NoBody, NoQuery]) -> object:
    """Place replicas on this host again."""
    capacity.cordon(call.control, cordoned=False)
    return capacity.host_status(call.control)


@operation(bp, "POST", "/host/drain", scope=Scope.ADMIN, answers=_HOST)
def drain_host(call: Call[NoBody, NoQuery]) -> object:
    """Cordon the host and ask every replica to go."""
    capacity.drain(call.control, call.caller.name)
    return capacity.host_status(call.control)


@operation(bp, "GET", "/images", scope=Scope.READ, answers={200: Listed[ImageInfo]})
def list_images(call: Call[NoBody, NoQuery]) -> object:
    """List what replicas can be made of."""
    return Listed[ImageInfo].model_construct(items=call.control.images.images())
