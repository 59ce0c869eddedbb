"""How a gateway comes by its credential: a one-time code against it, later the old one against a new one."""

from __future__ import annotations

from typing import Any, Final

import structlog
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api import enrolment
from api.problems import ProblemError
from api.register.audit import write_audit
from api.register.database import writing
from api.routes.ingest import answer_of, body_of, docs_of, token_of
from api.runtime import County
from api.schemas import Problem
from gateway import wire

_MAX_BODY_BYTES: Final = 4096
_GUESSES: Final = frozenset({"code-unknown", "code-used", "code-expired"})

log = structlog.get_logger(__name__)


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    words = {
        400: "not a valid message",
        401: "no valid credential",
        403: "a code or a credential that is over",
        409: "other hardware is enrolled: say replace",
        413: "too large",
        429: "too many attempts, wait",
    }
    return {status: {"model": Problem, "description": words[status]} for status in statuses}


router = APIRouter(prefix="/api/v1/enroll", tags=["uplink"])


@router.post(
    "",
    openapi_extra=docs_of(wire.Enroll, wire.Enrolled, credential=False),
    responses=_problems(400, 403, 409, 413, 429),
)
async def enroll(request: Request) -> Response:
    """A one-time code against a credential. With `replace` this hardware takes the place of the one before it."""
    county: County = request.app.state.county
    address = request.client.host if request.client is not None else ""
    wait_s = county.attempts.wait_s(address)
    if wait_s:
        raise ProblemError("too-many-attempts", headers={"retry-after": f"{wait_s + 1:.0f}"})
    body, is_json = await body_of(request, _MAX_BODY_BYTES)
    try:
        message = wire.decode_json(body, wire.Enroll) if is_json else wire.decode(body, wire.Enroll)
    except wire.WireError as error:
        raise ProblemError("bad-message", str(error)) from error
    try:
        answer = await run_in_threadpool(_redeem, county, message)
    except ProblemError as problem:
        if problem.code in _GUESSES:
            await run_in_threadpool(_note_failure, county, address, problem.code)
        raise
    return answer_of(answer)


@router.post("/rotate", openapi_extra=docs_of(None, wire.Enrolled), responses=_problems(401, 403))
async def rotate(request: Request) -> Response:
    """A new credential for a valid one, which stays valid until the new one is used."""
    county: County = request.app.state.county
    grant = await county.credentials.valid(token_of(request))

    def change() -> wire.Enrolled:
        credential = enrolment.rotate(county.engine, grant, county.clock.now_ns())
        county.credentials.read()
        return wire.Enrolled(grant.gateway, credential, county.clock.now_ns())

    return answer_of(await run_in_threadpool(change))


@router.get("", openapi_extra=docs_of(None, wire.Standing), responses=_problems(401))
async def standing(request: Request) -> Response:
    """What the county holds of the credential that asks."""
    county: County = request.app.state.county
    grant = await county.credentials.valid(token_of(request))
    return answer_of(wire.Standing(grant.gateway, grant.issued_ns, county.clock.now_ns(), grant.hand_over_s or 0))


def _redeem(county: County, message: wire.Enroll) -> wire.Enrolled:
    gateway, credential, hand_over_s = enrolment.redeem(county.engine, message, county.clock.now_ns())
    county.credentials.read()
    devices = [
        wire.KnownDevice(said.device, said.address, said.profile, said.asset)
        for said in (county.announcements.of(gateway) if message.replace else ())
    ]
    return wire.Enrolled(gateway, credential, county.clock.now_ns(), hand_over_s, devices)


def _note_failure(county: County, address: str, code: str) -> None:
    """Count it; one line of the audit log where the address is locked out, so that guessing fills no disk."""
    log.warning("enrolment_refused", address=address, code=code)
    if county.attempts.failed(address):
        with writing(county.engine) as connection:
            write_audit(connection, county.clock.now_ns(), "enrolment", "gateway.code-guessing", address, code)
