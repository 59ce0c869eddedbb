"""Signing in and out."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request, Response

from api.routes.deps import COOKIE, PROBLEMS, CountyDep, ReaderDep, SameOrigin
from api.schemas import Login, Problem, Session

router = APIRouter(prefix="/api/v1/session", tags=["session"], responses={401: PROBLEMS[401], 403: PROBLEMS[403]})


_SIGN_IN: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": Problem, "description": "not a JSON text"},
    422: PROBLEMS[422],
    429: {"model": Problem, "description": "too many failures"},
}


@router.post("", responses=_SIGN_IN, dependencies=[SameOrigin])
def sign_in(login: Login, request: Request, response: Response, county: CountyDep) -> Session:
    """Sign in. The answer sets an HttpOnly cookie; five failures lock the name for 15 minutes."""
    token, session = county.access.sign_in(login.username, login.password)
    response.set_cookie(
        COOKIE,
        token,
        max_age=int(county.settings.session_hours * 3600),
        httponly=True,
        samesite="strict",
        secure=county.settings.cookie_secure or request.url.scheme == "https",
        path="/",
    )
    response.headers["cache-control"] = "no-store"
    return session


@router.get("")
def who(reader: ReaderDep) -> Session:
    """Who is signed in."""
    return reader.session


@router.delete("", status_code=204, dependencies=[SameOrigin])
def sign_out(request: Request, response: Response, county: CountyDep) -> None:
    """Sign out: the session is gone on the server too."""
    county.access.sign_out(request.cookies.get(COOKIE, ""))
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
