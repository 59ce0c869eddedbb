"""For supervisors: is it alive, is it ready, what does it count."""

from __future__ import annotations

from fastapi import APIRouter, Response
from starlette.responses import PlainTextResponse

from api.routes.deps import CountyDep
from api.schemas import Health
from api.services import health

router = APIRouter(tags=["operation"])


@router.get("/healthz", responses={503: {"model": Health, "description": "alive, not ready"}})
def healthz(county: CountyDep, response: Response) -> Health:
    """Alive, ready, and the state of what stands behind the service. 503 while it is not ready."""
    answer = health.health(county)
    response.status_code = 200 if answer.ready else 503
    return answer


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(county: CountyDep) -> PlainTextResponse:
    """Counters of the service in Prometheus' text format; no names of enterprises."""
    return PlainTextResponse(health.prometheus(county), media_type="text/plain; version=0.0.4; charset=utf-8")
