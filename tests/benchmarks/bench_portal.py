"""Group portal: what a browser must fetch before it shows something."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import api
from tests.benchmarks.measure import Line, at_most

DIST = Path(api.__file__).parent / "web" / "dist"
_GZIP_LEVEL = 6
_IN_PAGE = re.compile(r'(?:src|href)="/([^"]+)"')
_STATIC_IMPORT = re.compile(r'(?:from|import)\s*"\./([^"]+)"')
_FIRST_PAGE = re.compile(r"LoginPage-[\w-]+\.(?:js|css)$")


def first_view(*, long: bool) -> Iterator[Line]:
    """Index, its scripts and styles with all they import at once, and the page to sign in: gzip bytes."""
    index = DIST / "index.html"
    if not index.is_file():
        raise FileNotFoundError(f"{index}: build the portal first")
    found = {index} | {DIST / path for path in _IN_PAGE.findall(index.read_text(encoding="utf-8"))}
    found |= {path for path in (DIST / "assets").iterdir() if _FIRST_PAGE.search(path.name)}
    waiting = list(found)
    while waiting:
        one = waiting.pop()
        if one.suffix == ".js":
            imported = {one.parent / name for name in _STATIC_IMPORT.findall(one.read_text(encoding="utf-8"))}
            waiting += imported - found
            found |= imported
    total_bytes = sum(len(gzip.compress(path.read_bytes(), _GZIP_LEVEL)) for path in found)
    yield at_most("portal.first_view", total_bytes / 1000, "kB", 250, f"{len(found)} files, gzip -{_GZIP_LEVEL}")


BENCHMARKS = (first_view,)
