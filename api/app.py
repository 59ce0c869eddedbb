"""The county service as an ASGI app. Importing this module does nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import FastAPI

from api.clock import Clock, SystemClock
from api.openapi import document
from api.problems import add_problem_handlers
from api.routes import enroll, health, indicators, ingest, live, register, session
from api.routes.ingest_front import CountyApp
from api.routes.portal import SecurityHeaders, add_portal
from api.runtime import County
from api.settings import Settings


def service_version() -> str:
    """The installed version."""
    try:
        return version("plantpulse")
    except PackageNotFoundError:
        return "0"


def describe_app() -> FastAPI:
    """The app with its routes, without a service behind it."""
    app = CountyApp(
        title="PlantPulse 厂脉 county service",
        version="1",
        description="Evidenced digitalisation figures of a county's factories. 县域制造业数字化监测。",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    for module in (ingest, enroll, live, indicators, register, session, health):
        app.include_router(module.router)

    def openapi() -> dict[str, Any]:
        return document(app)

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's documented way to extend the document
    add_problem_handlers(app)
    return app


def create_app(settings: Settings, clock: Clock | None = None) -> FastAPI:
    """The whole service. Its stores are opened when the app starts, and closed when it stops."""
    app = describe_app()
    clock = clock or SystemClock()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with County.running(settings, clock, service_version()) as county:
            app.state.county = county
            yield

    app.router.lifespan_context = lifespan
    add_portal(app, settings.web_dir)
    app.add_middleware(SecurityHeaders)
    return app
