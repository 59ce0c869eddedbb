"""Batches are answered here, in front of the framework: the one route that machines call a thousand times a second.

What it does is `ingest` of `api.routes.ingest`, which stands in the OpenAPI document. Routing, telemetry, middleware
and header objects of the framework cost more CPU than reading a batch of 1,000 records does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from fastapi import FastAPI
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from api.problems import REGISTER_AWAY, ProblemError, problem_response, register_away
from api.routes.ingest import bearer, read_body
from api.runtime import County

_PATH: Final = "/api/v1/ingest"
_HEADERS: Final = (
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)


class CountyApp(FastAPI):
    """The app, with a way of their own for batches. Its service is `state.county`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a batch; leave everything else to the framework."""
        if scope["type"] == "http" and scope["path"] == _PATH and scope["method"] == "POST":
            await _answer(self.state.county, scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


async def _answer(county: County, scope: Scope, receive: Receive, send: Send) -> None:
    try:
        answer = await _taken(county, scope["headers"], receive)
    except ClientDisconnect:
        return
    except ProblemError as problem:
        county.ingest.counts.body(problem.code)
        await problem_response(problem.code, problem.detail, problem.headers)(scope, receive, send)
        return
    except REGISTER_AWAY as error:
        await register_away(error)(scope, receive, send)
        return
    except Exception as error:
        await problem_response("failed", type(error).__name__)(scope, receive, send)
        raise  # for the log
    headers = [*_HEADERS, (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


async def _taken(county: County, headers: Sequence[tuple[bytes, bytes]], receive: Receive) -> bytes:
    """The answer to a batch, after it is synced to disk. A gateway beyond its limit is turned away unread."""
    authorization = content_type = declared = ""
    for name, value in headers:
        if name == b"authorization":
            authorization = authorization or value.decode("latin-1")
        elif name == b"content-type":
            content_type = content_type or value.decode("latin-1")
        elif name == b"content-length":
            declared = declared or value.decode("latin-1")
    service = county.ingest
    sender = await service.sender(bearer(authorization))
    service.admit(sender)
    body, is_json = await read_body(receive, content_type, declared)
    service.rate_limit.spend(sender.gateway, len(body))
    return msgspec.json.encode(await service.take(sender, body, is_json))
