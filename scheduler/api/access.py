"""/v1/quotas, /v1/secrets and /v1/tokens: what deployments share, and who may ask for what."""

from __future__ import annotations

import base64
import binascii

from flask import Blueprint

from minirun import ScheduleError

from ..control import access
from ..control.access import QuotaStatus
from ..control.problems import refuse
from ..model import Quota
from ..store import Scope, SecretInfo, TokenInfo
from ..validate import NAME
from .operation import Call, NoBody, NoQuery, Reply, operation
from .schemas import Listed
from .schemas.views import QuotaBody, QuotaView, SecretBody, TokenBody, TokenCreated

bp = Blueprint("access", __name__, url_prefix="/v1")
_GONE = {204: None}


def _checked(name: str) -> str:
    """Return a name that something new may have."""
    if not NAME.fullmatch(name):
        text = f"{name[:80]!r} is not lowercase letters, digits and dashes, 63 at most"
        raise ScheduleError(text, status=400, hint="choose another name")
    return name


# ---- quotas -------------------------------------------------------------------------------------


@operation(bp, "GET", "/quotas", scope=Scope.READ, answers={200: Listed[QuotaView]})
def list_quotas(call: Call[NoBody, NoQuery]) -> object:
    """List the quotas and what of each is in use."""
    items = tuple(map(_quota, access.quotas(call.control)))
    return Listed[QuotaView].model_construct(items=items)


@operation(bp, "GET", "/quotas/<name>", scope=Scope.READ, answers={200: QuotaView})
def get_quota(call: Call[NoBody, NoQuery]) -> object:
    """Return a quota and what of it is in use."""
    return _quota(access.quota_status(call.control, call.name))


@operation(bp, "PUT", "/quotas/<name>", scope=Scope.ADMIN, body=QuotaBody, answers={200: QuotaView})
def put_quota(call: Call[QuotaBody, NoQuery]) -> object:
    """Create or replace a quota; what runs already goes on."""
    body, name = call.body, _checked(call.name)
    quota = Quota(name, body.cpu_millis, body.memory_bytes, body.gpus, body.replicas)
    access.put_quota(call.control, quota)
    return _quota(access.quota_status(call.control, call.name))


@operation(bp, "DELETE", "/quotas/<name>", scope=Scope.ADMIN, answers=_GONE, problems=(409,))
def delete_quota(call: Call[NoBody, NoQuery]) -> Reply:
    """Forget a quota that no deployment names."""
    access.remove_quota(call.control, call.name)
    return Reply(status=204)


def _quota(status: QuotaStatus) -> QuotaView:
    quota = status.quota
    return QuotaView(
        name=quota.name,
        cpu_millis=quota.cpu_millis,
        memory_bytes=quota.memory_bytes,
        gpus=quota.gpus,
        replicas=quota.replicas,
        used=status.used,
        used_replicas=status.replicas,
        deployments=status.deployments,
    )


# ---- secrets ------------------------------------------------------------------------------------


@operation(bp, "GET", "/secrets", scope=Scope.READ, answers={200: Listed[SecretInfo]})
def list_secrets(call: Call[NoBody, NoQuery]) -> object:
    """List the secrets, without their values."""
    return Listed[SecretInfo].model_construct(items=call.control.store.secrets())


@operation(
    bp, "PUT", "/secrets/<name>", scope=Scope.DEPLOY, body=SecretBody, answers={200: SecretInfo}
)
def put_secret(call: Call[SecretBody, NoQuery]) -> object:
    """Create a secret or replace its value; replicas that run keep the old one."""
    return call.control.store.put_secret(_checked(call.name), _value(call.body))


def _value(body: SecretBody) -> bytes:
    if (body.value is None) == (body.base64 is None):
        raise refuse("/value", "one of value and base64 is needed")
    if body.value is not None:
        return body.value.encode()
    try:
        return base64.b64decode(body.base64 or "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise refuse("/base64", "is not base64") from error


@operation(bp, "DELETE", "/secrets/<name>", scope=Scope.DEPLOY, answers=_GONE, problems=(409,))
def delete_secret(call: Call[NoBody, NoQuery]) -> Reply:
    """Forget a secret that no deployment mounts."""
    access.remove_secret(call.control, call.name)
    return Reply(status=204)


# ---- tokens -------------------------------------------------------------------------------------


@operation(bp, "GET", "/tokens", scope=Scope.ADMIN, answers={200: Listed[TokenInfo]})
def list_tokens(call: Call[NoBody, NoQuery]) -> object:
    """List the tokens, without what they are."""
    return Listed[TokenInfo].model_construct(items=call.control.store.tokens())


@operation(
    bp,
    "POST",
    "/tokens",
    scope=Scope.ADMIN,
    body=TokenBody,
    answers={201: TokenCreated},
    problems=(409,),
)
def create_token(call: Call[TokenBody, NoQuery]) -> object:
    """Make a token; this answer is the only one that holds it."""
    wanted = call.body
    text = call.control.store.create_token(wanted.name, wanted.scope)
    return TokenCreated(name=wanted.name, scope=wanted.scope, token=text)


@operation(bp, "DELETE", "/tokens/<name>", scope=Scope.ADMIN, answers=_GONE)
def delete_token(call: Call[NoBody, NoQuery]) -> Reply:
    """Forget a token; it opens nothing from now on."""
    call.control.store.remove_token(call.name)
    return Reply(status=204)
