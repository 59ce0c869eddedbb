"""What routes ask for by type: the running service, who is reading, and which gateway is sending."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from api.problems import ProblemError
from api.runtime import County
from api.schemas import Problem
from api.services.access import Reader

COOKIE: Final = "plantpulse_session"

PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": Problem, "description": words}
    for status, words in ((401, "not signed in"), (403, "no right to it"), (404, "not found"), (422, "a bad parameter"))
}


# These are coroutines because each function that is none goes to a thread and back before the next one may.


async def county_of(request: Request) -> County:
    """The running service behind a request."""
    county: County = request.app.state.county
    return county


CountyDep = Annotated[County, Depends(county_of)]


async def reader_of(request: Request, county: CountyDep) -> Reader:
    """Who is signed in. Raises the problem `not-signed-in`."""
    token, access = request.cookies.get(COOKIE, ""), county.access
    reader = access.reader(token) if access.remembers(token) else await run_in_threadpool(access.reader, token)
    if reader is None:
        raise ProblemError("not-signed-in")
    return reader


ReaderDep = Annotated[Reader, Depends(reader_of)]


async def data_reader_of(reader: ReaderDep) -> Reader:
    """A reader with rights to data: every role but the administrator's."""
    if reader.role == "administrator":
        raise ProblemError("forbidden", "the role administrator has no data rights")
    return reader


DataReaderDep = Annotated[Reader, Depends(data_reader_of)]


async def same_origin(request: Request) -> None:
    """Refuse a write that another site's page makes the reader's browser send."""
    site = request.headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        raise ProblemError("foreign-origin", f"Sec-Fetch-Site: {site}")
    origin = request.headers.get("origin")
    if origin is not None and origin.split("://")[-1] != request.headers.get("host"):
        raise ProblemError("foreign-origin", f"Origin: {origin}")


SameOrigin = Depends(same_origin)
