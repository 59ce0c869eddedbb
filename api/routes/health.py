"""For supervisors: is it alive, is it ready, what does it count."""

from __future__ import annotations

from fastapi import APIRouter, Response
from starlette.responses import PlainTextResponse

from api.routes.deps import CountyDep
from api.schemas import Alive, Health
from api.services import health
from api.services.metrics import CONTENT_TYPE, prometheus

router = APIRouter(tags=["operation"])


@router.get("/healthz", responses={503: {"model": Health, "description": "alive, not ready"}})
def healthz(county: CountyDep, response: Response) -> Health:
    """Ready, and the state of what stands behind the service. 503 while it is alive and not ready: send nobody here,
    and do not restart it."""
    answer = health.health(county)
    response.status_code = 200 if answer.ready else 503
    return answer


@router.get("/healthz/alive")
async def alive(county: CountyDep) -> Alive:
    """Alive: 200 whenever the service answers at all, whatever stands behind it. Restart it when this does not."""
    return Alive(version=county.version)


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(county: CountyDep) -> PlainTextResponse:
    """Counters of the service in Prometheus' text format; no names of enterprises."""
    return PlainTextResponse(prometheus(county), media_type=CONTENT_TYPE)
