"""What commands say on the terminal: JSON for programs, two languages for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from collectors.model import Trouble

T = TypeVar("T")


def print_json(value: Any, *, in_a_line: bool = False) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=None if in_a_line else 2) + "\n")


def fail(error: Exception, as_json: bool = False, *, in_a_line: bool = False) -> NoReturn:
    """Tell what is wrong and end with 1."""
    from collectors.model import CollectorError
    from collectors.strict_yaml import FileError

    if as_json:
        if isinstance(error, FileError):
            problems = [p._asdict() for p in error.problems]
        elif isinstance(error, CollectorError):
            problems = [
                {"code": error.code, "zh": error.zh, "en": error.en, "next_zh": error.next_zh, "next_en": error.next_en}
            ]
        else:
            problems = [{"zh": str(error), "en": str(error)}]
        print_json({"ok": False, "problems": problems}, in_a_line=in_a_line)
    else:
        lines = [str(error)]
        if isinstance(error, CollectorError):
            lines += [f"  {step}" for step in (error.next_zh, error.next_en) if step]
        sys.stderr.write("\n".join(lines) + "\n")
    raise typer.Exit(1)


def tell(trouble: Trouble) -> None:
    """Say on stderr what a person should know beside the answer."""
    sys.stderr.write(f"注意：{trouble.zh} {trouble.next_zh}\nNote: {trouble.en} {trouble.next_en}\n")


def tell_wait(seconds: float, as_json: bool) -> None:
    """Say on a terminal how long an answer may take; programs and pipes are told nothing."""
    if not as_json and sys.stderr.isatty():
        sys.stderr.write(f"请稍候，最多约 {seconds:.0f} 秒…… / this takes {seconds:.0f} s or so at most …\n")


def address_of(address: str) -> str:
    """The address, where its scheme is known; else the call is wrong."""
    from collectors.entries import protocol_of

    try:
        protocol_of(address)
    except KeyError:
        raise typer.BadParameter(f"不认识的地址 / unknown address: {address}") from None
    return address


@contextmanager
def failing(as_json: bool) -> Iterator[None]:
    """What goes wrong inside is told, and ends with 1."""
    from collectors.model import CollectorError
    from collectors.strict_yaml import FileError

    try:
        yield
    except (FileError, CollectorError, OSError, TimeoutError) as error:
        fail(error, as_json)


def await_or_fail(work: Coroutine[Any, Any, T], as_json: bool) -> T:
    """Run to the end; what goes wrong ends with 1."""
    import asyncio

    with failing(as_json):
        return asyncio.run(work)
