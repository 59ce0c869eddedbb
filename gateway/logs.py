"""The log: one line for each change of state, to standard error, or as JSON to standard output."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast


@contextmanager
def _without(package: str) -> Iterator[None]:
    """Let imports inside the block go on as if a package were not installed."""
    known = sys.modules.get(package)
    if known is not None:
        yield
        return
    absent = cast("dict[str, object]", sys.modules)
    absent[package] = None
    try:
        yield
    finally:
        del absent[package]


with _without("rich"):  # for coloured tracebacks on a terminal; a gateway would carry its 3.5 MB for years
    import structlog


def set_up(*, as_json: bool = False) -> None:
    """Lines for people on a terminal, JSON elsewhere. Call once, in the command.

    `as_json`: the log is what a program asked for: a JSON object a line, and nothing else, on standard output.
    """
    terminal = sys.stderr.isatty() and not as_json
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout if as_json else sys.stderr),
    )
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")
