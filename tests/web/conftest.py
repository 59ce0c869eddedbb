"""One county for all tests of the page: starting one and filling two months takes seconds."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.web.portal import WEB, Portal, open_portal


@pytest.fixture(scope="session", autouse=True)
def built_portal() -> None:
    """The page is built from today's source before the tests (`make setup` does it)."""
    index = WEB / "dist" / "index.html"
    newest = max(path.stat().st_mtime for path in (WEB / "src").rglob("*") if path.is_file())
    assert index.is_file(), "api/web/dist is missing: run npm ci and npm run build in api/web"
    assert index.stat().st_mtime >= newest, "api/web/dist is older than its source: run npm run build in api/web"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def portal(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Portal]:
    """A county with content and live presence."""
    async with open_portal(tmp_path_factory.mktemp("portal")) as opened:
        yield opened
