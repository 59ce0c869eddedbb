"""Fixtures of the county's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.county_fixtures import CountyUnderTest, running_county


@pytest.fixture
async def county(tmp_path: Path) -> AsyncIterator[CountyUnderTest]:
    """A county over ASGI with an empty register."""
    async with running_county(tmp_path / "county") as running:
        yield running


@pytest.fixture
async def plant(county: CountyUnderTest, tmp_path: Path) -> CountyUnderTest:
    """The same with two plants in its register."""
    county.load(tmp_path / "register")
    return county
