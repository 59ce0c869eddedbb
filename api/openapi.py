"""The OpenAPI document as a file: `python -m api.openapi` writes `api/openapi.json`, `--check` compares."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.problems import PROBLEM_TYPE
from api.routes.ingest import WIRE_SCHEMAS

DOCUMENT: Final = Path(__file__).parent / "openapi.json"


def document(app: FastAPI) -> dict[str, Any]:
    """The document of an app: its routes, and the messages of the uplink."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        components = made.setdefault("components", {})
        components.setdefault("schemas", {}).update(WIRE_SCHEMAS)
        _problems_by_their_type(made)
        components["securitySchemes"] = {
            "gateway": {"type": "http", "scheme": "bearer", "description": "a gateway's credential"}
        }
        app.openapi_schema = made
    return app.openapi_schema


def _problems_by_their_type(made: dict[str, Any]) -> None:
    """Problems are sent as RFC 9457 names them, whatever the framework writes of JSON."""
    problem = {"$ref": "#/components/schemas/Problem"}
    for path in made["paths"].values():
        for operation in path.values():
            for response in operation["responses"].values():
                content = response.get("content", {})
                if content.get("application/json", {}).get("schema") == problem:
                    content[PROBLEM_TYPE] = content.pop("application/json")


def text() -> str:
    """The document as it is stored."""
    from api.app import describe_app

    return json.dumps(document(describe_app()), ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def main() -> int:
    """Write the document, or compare it. Exit code 1 where it differs."""
    if "--check" not in sys.argv[1:]:
        DOCUMENT.write_text(text(), encoding="utf-8")
        return 0
    if DOCUMENT.exists() and DOCUMENT.read_text(encoding="utf-8") == text():
        return 0
    sys.stderr.write("api/openapi.json differs from the routes 与接口不一致: run 请执行 python -m api.openapi\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
