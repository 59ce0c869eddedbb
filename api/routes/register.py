"""The register: enterprises, assets and meters, gateways, plans."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api.problems import ProblemError
from api.routes.deps import PROBLEMS, CountyDep, DataReaderDep, ReaderDep
from api.schemas import Asset, AssetList, Enterprise, EnterpriseList, GatewayList, Plan, PlanList, PlanProgress
from api.services import assets, enterprises, gateways, progress

router = APIRouter(prefix="/api/v1", tags=["register"], responses=PROBLEMS)

Offset = Annotated[int, Query(ge=0)]
Search = Annotated[str, Query(max_length=64, description="part of a name, number or code")]


@router.get("/enterprises")
def list_enterprises(
    county: CountyDep,
    reader: DataReaderDep,
    q: Search = "",
    offset: Offset = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
) -> EnterpriseList:
    """Enterprises with their rates of the present month."""
    return enterprises.list_enterprises(county, reader, q, offset, limit)


@router.get("/enterprises/{id}")
def get_enterprise(id: str, county: CountyDep, reader: DataReaderDep) -> Enterprise:  # noqa: A002 (the path's own word)
    """One enterprise, by credit code."""
    return enterprises.get_enterprise(county, reader, id)


@router.get("/assets")
def list_assets(
    county: CountyDep,
    reader: DataReaderDep,
    enterprise: Annotated[str | None, Query(description="credit code")] = None,
    q: Search = "",
    offset: Offset = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> AssetList:
    """Assets and meters with evidence, bindings, presence and today's sums."""
    return assets.list_assets(county, reader, enterprise, q, offset, limit)


@router.get("/assets/{id}")
def get_asset(id: str, county: CountyDep, reader: DataReaderDep) -> Asset:  # noqa: A002 (the path's own word)
    """One asset or meter."""
    return assets.get_asset(county, reader, id)


@router.get("/gateways")
def list_gateways(
    county: CountyDep, reader: ReaderDep, offset: Offset = 0, limit: Annotated[int, Query(ge=1, le=500)] = 100
) -> GatewayList:
    """Gateways: last contact, backlog, what was refused, alarms."""
    return gateways.list_gateways(county, reader, offset, limit)


@router.get("/plans")
def list_plans(county: CountyDep, reader: DataReaderDep) -> PlanList:
    """Development plans: indicators with base and target as printed, and declared baselines."""
    return PlanList(items=county.plans.all())


@router.get("/plans/{id}")
def get_plan(id: str, county: CountyDep, reader: DataReaderDep) -> Plan:  # noqa: A002 (the path's own word)
    """One plan."""
    plan = county.plans.get(id)
    if plan is None:
        raise ProblemError("not-found", f"plan {id}")
    return plan


@router.get("/plans/{id}/progress")
def plan_progress(
    id: str,  # noqa: A002 (the path's own word)
    county: CountyDep,
    reader: DataReaderDep,
    as_of: Annotated[str | None, Query(max_length=40, description="official values as entered by then")] = None,
) -> PlanProgress:
    """Every indicator of a plan against its target: path, status, projection, by the official values entered."""
    return progress.plan_progress(county, id, as_of)
