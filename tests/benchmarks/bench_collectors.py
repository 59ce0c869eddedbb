"""Group collectors."""

from __future__ import annotations

BENCHMARKS = ()
