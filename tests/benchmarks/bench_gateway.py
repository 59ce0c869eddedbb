"""Group gateway."""

from __future__ import annotations

BENCHMARKS = ()
