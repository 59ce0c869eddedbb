"""Group county."""

from __future__ import annotations

BENCHMARKS = ()
