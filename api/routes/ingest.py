"""What gateways send. Bodies are msgspec messages of `gateway.wire`, as MessagePack in zstd or as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.ingest import Sender
from api.problems import ProblemError, problem_response
from api.runtime import County
from api.schemas import Problem
from gateway import wire

_MESSAGES: Final = (
    wire.IngestJson,
    wire.IngestAnswer,
    wire.Live,
    wire.Announce,
    wire.Accepted,
    wire.Enroll,
    wire.Enrolled,
    wire.Standing,
)
WIRE_SCHEMAS: Final[dict[str, Any]] = msgspec.json.schema_components(
    _MESSAGES, ref_template="#/components/schemas/{name}"
)[1]
"""JSON Schemas of the messages, for the OpenAPI document."""


def docs_of(body: type | None, answer: type, *, credential: bool = True) -> dict[str, Any]:
    """What the OpenAPI document says of a route of messages."""
    documented: dict[str, Any] = {
        "security": [{"gateway": []}] if credential else [],
        "responses": {
            "200": {
                "description": "accepted",
                "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{answer.__name__}"}}},
            }
        },
    }
    if body is not None:
        documented["requestBody"] = {
            "required": True,
            "content": {
                wire.CONTENT_TYPE_JSON: {"schema": {"$ref": f"#/components/schemas/{body.__name__}"}},
                wire.CONTENT_TYPE_MSGPACK: {"schema": {"type": "string", "format": "binary"}},
            },
        }
    return documented


router = APIRouter(
    prefix="/api/v1",
    tags=["uplink"],
    responses={
        400: {"model": Problem, "description": "not a valid message"},
        401: {"model": Problem, "description": "no valid credential"},
        403: {"model": Problem, "description": "another gateway's credential, or that of replaced hardware"},
        413: {"model": Problem, "description": "too large"},
        429: {"model": Problem, "description": "more than the gateway's limit, send again"},
        503: {"model": Problem, "description": "busy, send again"},
    },
)


def token_of(request: Request) -> str:
    """The credential that a request bears, blank for none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


@contextmanager
def _counting(county: County) -> Iterator[None]:
    """Count what is refused, by reason."""
    try:
        yield
    except ProblemError as problem:
        county.ingest.counts.body(problem.code)
        raise


async def _received(county: County, request: Request) -> tuple[Sender, bytes, bool]:
    """Who sends, the whole body, and whether it is JSON. A gateway beyond its limit is turned away unread."""
    sender = _sender(county, request)
    county.ingest.admit(sender)
    body, is_json = await body_of(request)
    county.ingest.rate_limit.spend(sender.gateway, len(body))
    return sender, body, is_json


def _sender(county: County, request: Request) -> Sender:
    return county.ingest.sender(token_of(request))


async def body_of(request: Request, limit: int = 0) -> tuple[bytes, bool]:
    """The whole body, and whether it is JSON. Stops reading at the limit in bytes; 0: that of its form."""
    is_json = request.headers.get("content-type", "").split(";")[0].strip() == wire.CONTENT_TYPE_JSON
    limit = limit or (wire.MAX_DECODED_BYTES if is_json else wire.MAX_BODY_BYTES)
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise ProblemError("too-large", f"{declared} bytes, at most {limit}")
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise ProblemError("too-large", f"more than {limit} bytes")
        chunks.append(chunk)
    return b"".join(chunks), is_json


def answer_of(message: msgspec.Struct) -> Response:
    """A message as an answer."""
    return Response(msgspec.json.encode(message), media_type="application/json")


@router.post("/ingest", openapi_extra=docs_of(wire.IngestJson, wire.IngestAnswer))
async def ingest(request: Request) -> Response:
    """Interval records. The answer `journalled` is given after they are synced to disk."""
    county: County = request.app.state.county
    with _counting(county):
        sender, body, is_json = await _received(county, request)
        return answer_of(await county.ingest.take(sender, body, is_json))


class IngestFastPath:
    """ASGI middleware: answers the one route that machines call a thousand times a second before the framework.

    What it does is `ingest` above, which stands in the OpenAPI document; routing, dependencies and header
    objects cost more CPU than reading a batch of 1,000 records does.
    """

    _PATH: Final = "/api/v1/ingest"
    _HEADERS: Final = (
        (b"content-type", b"application/json"),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    )

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a batch; pass everything else on."""
        if scope["type"] != "http" or scope["path"] != self._PATH or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        county: County = scope["app"].state.county
        try:
            with _counting(county):
                sender, body, is_json = await _received(county, request)
                answer = msgspec.json.encode(await county.ingest.take(sender, body, is_json))
        except ProblemError as problem:
            await problem_response(problem.code, problem.detail, problem.headers)(scope, receive, send)
            return
        headers = [*self._HEADERS, (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


@router.post("/live", openapi_extra=docs_of(wire.Live, wire.Accepted))
async def live(request: Request) -> Response:
    """Presence: volatile, for the page only."""
    county: County = request.app.state.county
    with _counting(county):
        sender, body, is_json = await _received(county, request)
        return answer_of(county.ingest.take_live(sender, body, is_json))


@router.post("/announce", openapi_extra=docs_of(wire.Announce, wire.Accepted))
async def announce(request: Request) -> Response:
    """What devices say of themselves; kept with date and number."""
    county: County = request.app.state.county
    with _counting(county):
        sender, body, is_json = await _received(county, request)
        return answer_of(await county.ingest.take_announce(sender, body, is_json))
