"""What gateways send. Bodies are msgspec messages of `gateway.wire`, as MessagePack in zstd or as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive

from api.ingest import Sender
from api.problems import ProblemError
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


def _without_lengths(schema: Any) -> Any:
    """A schema that leaves long lists to the limit of bodies: such a body is too large (413), or no message (400)."""
    if isinstance(schema, dict):
        return {key: _without_lengths(value) for key, value in schema.items() if key != "maxItems"}
    return [_without_lengths(item) for item in schema] if isinstance(schema, list) else schema


WIRE_SCHEMAS: Final[dict[str, Any]] = _without_lengths(
    msgspec.json.schema_components(_MESSAGES, ref_template="#/components/schemas/{name}")[1]
)
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


def bearer(authorization: str) -> str:
    """The credential in an `Authorization` header, blank for none."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def token_of(request: Request) -> str:
    """The credential that a request bears, blank for none."""
    return bearer(request.headers.get("authorization", ""))


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
    sender = await county.ingest.sender(token_of(request))
    county.ingest.admit(sender)
    body, is_json = await body_of(request)
    county.ingest.rate_limit.spend(sender.gateway, len(body))
    return sender, body, is_json


async def body_of(request: Request, limit: int = 0) -> tuple[bytes, bool]:
    """`read_body` of a request."""
    headers = request.headers
    return await read_body(request.receive, headers.get("content-type", ""), headers.get("content-length", ""), limit)


async def read_body(receive: Receive, content_type: str, declared: str, limit: int = 0) -> tuple[bytes, bool]:
    """The whole body, and whether it is JSON. Stops reading at the limit in bytes; 0: that of its form.

    `declared` is its `Content-Length`, blank for none. Raises ClientDisconnect where the sender goes away.
    """
    is_json = content_type.split(";")[0].strip() == wire.CONTENT_TYPE_JSON
    limit = limit or (wire.MAX_DECODED_BYTES if is_json else wire.MAX_BODY_BYTES)
    if declared.isdigit() and int(declared) > limit:
        raise ProblemError("too-large", f"{declared} bytes, at most {limit}")
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        more = message.get("more_body", False)
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
