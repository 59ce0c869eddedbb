"""The portal's built files at `/`, the API's reference page, and the headers that keep the browser strict."""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import methods_of, problem_response

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
_OWN_PATHS: Final = ("api/", "healthz", "metrics", "openapi.json")

_NO_PORTAL: Final = """<!doctype html><html lang="zh-CN"><meta charset="utf-8"><title>厂脉 PlantPulse</title>
<h1>厂脉 PlantPulse</h1><p>门户页面尚未构建，接口可用：<a href="/docs">/docs</a></p>
<p lang="en">The portal is not built; the API works: <a href="/docs">/docs</a></p></html>"""


class SecurityHeaders:
    """ASGI middleware: strict headers on every answer that does not set its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and add the headers to its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if scope["path"].startswith("/api/"):
                    headers.setdefault("cache-control", "no-store")
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _reference(app: FastAPI) -> str:
    rows = []
    for path, methods in sorted(app.openapi()["paths"].items()):
        for method, operation in methods.items():
            summary = operation.get("description", operation.get("summary", ""))
            rows.append(f"<tr><td>{method.upper()}</td><td><code>{path}</code></td><td>{summary}</td></tr>")
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>PlantPulse API</title><h1>PlantPulse API</h1>'
        '<p>OpenAPI 3.1: <a href="/openapi.json">/openapi.json</a></p><table><thead><tr><th>Method</th><th>Path</th>'
        f"<th>What it does</th></tr></thead><tbody>{''.join(rows)}</tbody></table></html>"
    )


def add_portal(app: FastAPI, web_dir: Path) -> None:
    """Serve the built portal: files by name, its index for every other page address."""
    root = web_dir.resolve()

    @app.get("/docs", include_in_schema=False)
    def reference() -> HTMLResponse:
        return HTMLResponse(_reference(app))

    @app.get("/{path:path}", include_in_schema=False)
    def portal(path: str, request: Request) -> Response:
        if path.startswith(_OWN_PATHS):
            if methods := methods_of(app, f"/{path}"):  # a GET where only others are served
                return problem_response("method", f"/{path}", {"allow": ", ".join(methods)})
            return problem_response("not-found", f"/{path}")
        wanted = (root / path).resolve()
        if path and wanted.is_relative_to(root) and wanted.is_file():
            # built assets carry a hash of their content in their name
            fresh = "public, max-age=31536000, immutable" if path.startswith("assets/") else "no-cache"
            return _file(wanted, request, fresh)
        if "." in path.rsplit("/", 1)[-1]:
            return problem_response("not-found", f"/{path}")
        index = root / "index.html"
        if not index.is_file():
            return HTMLResponse(_NO_PORTAL)
        return _file(index, request, "no-cache")


def _file(path: Path, request: Request, cache_control: str) -> FileResponse:
    """A built file, by its compressed copy where the browser takes one."""
    headers = {"cache-control": cache_control, "vary": "accept-encoding"}
    copy = path.with_name(f"{path.name}.gz")
    if "gzip" in request.headers.get("accept-encoding", "") and copy.is_file():
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        return FileResponse(copy, media_type=kind, headers={**headers, "content-encoding": "gzip"})
    return FileResponse(path, headers=headers)
