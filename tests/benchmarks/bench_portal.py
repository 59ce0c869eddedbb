"""Group portal."""

from __future__ import annotations

BENCHMARKS = ()
