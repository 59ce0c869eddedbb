"""The core imports the standard library and numpy, and nothing else: no I/O, no clock, no settings."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

METRICS = Path(__file__).parents[2] / "metrics"
FORBIDDEN = {
    "asyncio",
    "logging",
    "os",
    "pathlib",
    "random",
    "socket",
    "sqlite3",
    "subprocess",
    "threading",
    "time",
    "urllib",
}
PERMITTED = (sys.stdlib_module_names - FORBIDDEN) | {"numpy", "metrics"}


@pytest.mark.parametrize("module", sorted(METRICS.rglob("*.py")), ids=lambda path: path.name)
def test_metrics_imports_only_the_standard_library_and_numpy(module: Path) -> None:
    imported: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            imported.add(node.module or "")
    assert {name.split(".")[0] for name in imported} <= PERMITTED
