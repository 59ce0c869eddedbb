"""`python -m tests.benchmarks [--only GROUP] [--long]`: one JSON object a line on stdout.

Exit code 0 unless a benchmark crashed; a goal that was not reached is a line with `"ok": false`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
import traceback

import structlog

from tests.benchmarks.measure import machine

GROUPS = ("metrics", "collectors", "gateway", "county", "county_influxdb", "portal")
MORE_MODULES = {
    "collectors": ("bench_collectors_mqtt", "bench_collectors_modbus", "bench_collectors_opcua"),
    "gateway": ("bench_gateway_runtime",),
    "county": ("bench_county_answers", "bench_county_backlog"),
}
"""Beyond `bench_<group>`."""


def main() -> int:
    """Run the groups asked for. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", choices=GROUPS, help="one group")
    parser.add_argument("--long", action="store_true", help="full sizes, minutes each")
    given = parser.parse_args()
    print(machine(), file=sys.stderr)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # stdout is for the lines alone
    crashed = short = 0
    for group in (given.only,) if given.only else GROUPS:
        names = (f"bench_{group}", *MORE_MODULES.get(group, ()))
        modules = [importlib.import_module(f"tests.benchmarks.{name}") for name in names]
        for benchmark in (benchmark for module in modules for benchmark in module.BENCHMARKS):
            began = time.monotonic()
            try:
                for line in benchmark(long=given.long):
                    short += not line.ok
                    print(line.json(), flush=True)
            except Exception:  # noqa: BLE001 - one crash must not hide the other lines
                crashed += 1
                traceback.print_exc()
                print(f"{group}.{benchmark.__name__}: crashed", file=sys.stderr)
            print(f"{group}.{benchmark.__name__}: {time.monotonic() - began:.1f} s", file=sys.stderr)
    print(f"{short} short of their goal, {crashed} crashed", file=sys.stderr)
    return 1 if crashed else 0


if __name__ == "__main__":
    sys.exit(main())
