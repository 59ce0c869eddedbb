"""What commands say on the terminal: JSON for programs, two languages for people."""

from __future__ import annotations

import json
import sys
from typing import Any, NoReturn

import typer


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def fail(error: Exception, as_json: bool = False) -> NoReturn:
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
        print_json({"ok": False, "problems": problems})
    else:
        lines = [str(error)]
        if isinstance(error, CollectorError):
            lines += [f"  {step}" for step in (error.next_zh, error.next_en) if step]
        sys.stderr.write("\n".join(lines) + "\n")
    raise typer.Exit(1)
