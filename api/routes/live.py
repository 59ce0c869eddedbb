"""How machines are now: a snapshot, and a stream of snapshots."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from api.live import TooManySubscribersError
from api.problems import ProblemError
from api.routes.deps import PROBLEMS, CountyDep, DataReaderDep
from api.schemas import LiveSnapshot
from api.services import presence

router = APIRouter(prefix="/api/v1/live", tags=["live"], responses={401: PROBLEMS[401], 403: PROBLEMS[403]})


@router.get("")
def live(county: CountyDep, reader: DataReaderDep) -> LiveSnapshot:
    """Presence of everything the reader may see."""
    return presence.snapshot(county, reader)


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "events named `live`: a LiveSnapshot each"}},
)
async def live_events(request: Request, county: CountyDep, reader: DataReaderDep) -> StreamingResponse:
    """The same as server-sent events: on every change, at least every 5 s."""
    try:
        subscription = county.live.subscribe()
    except TooManySubscribersError:
        raise ProblemError("busy", "too many streams are open", {"retry-after": "10"}) from None

    async def events() -> AsyncIterator[bytes]:
        try:
            async for _ in subscription:
                if await request.is_disconnected() or not county.access.still_valid(reader):
                    return
                shot = await run_in_threadpool(presence.snapshot, county, reader)
                yield b"event: live\ndata: " + shot.model_dump_json().encode() + b"\n\n"
        finally:
            subscription.close()

    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(events(), media_type="text/event-stream", headers=headers)
