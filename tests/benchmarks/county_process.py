"""A county service in a process of its own, for a block: see county_peer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Order = Callable[[str], dict[str, int]]


@contextmanager
def serving(folder: str, gateways: int, **environment: str) -> Iterator[tuple[dict[str, Any], Order]]:
    """Its first line (port and credentials), and a way to give it orders. It stops at the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.county_peer", folder, str(gateways)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    ) as peer:
        assert peer.stdin is not None
        assert peer.stdout is not None
        told, orders = peer.stdout, peer.stdin

        def order(word: str) -> dict[str, int]:
            print(word, file=orders, flush=True)
            answer: dict[str, int] = json.loads(told.readline())
            return answer

        try:
            yield json.loads(told.readline()), order
        finally:
            orders.close()
            try:
                peer.wait(60)
            except subprocess.TimeoutExpired:
                peer.kill()
