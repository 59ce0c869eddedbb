"""HTML of the page from templates that escape everything; numbers and times as people read them."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any, Final

import jinja2

from gateway.page.texts import Language, text
from metrics.record import RECORD_COLUMNS

_LOCAL: Final = timezone(timedelta(hours=8))
"""A local day is UTC+8, as everywhere in this project."""
_NS_PER_S: Final = 1_000_000_000
_KIB: Final = 1024.0
ROWS_SHOWN: Final = 200
STARTS_SHOWN: Final = 5
_UNITS: Final = defaultdict(str, {c.name: c.unit for c in RECORD_COLUMNS if c.name not in ("device", "start")})

_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)


def page(name: str, language: Language, **content: Any) -> str:
    """A whole page. `content` is what its template names."""
    return _templates.get_template("page.html").render(**_words(language), part=f"{name}.html", name=name, **content)


def part(name: str, language: Language, **content: Any) -> str:
    """The changing middle of a page, for its refresh."""
    return _templates.get_template(f"{name}.html").render(**_words(language), **content)


def _words(language: Language) -> dict[str, Any]:
    return {
        "language": language,
        "other": "en" if language == "zh" else "zh",
        "t": partial(text, language=language),
        "span": partial(span, language=language),
        "moment": moment,
        "number": number,
        "size": size,
        "signed_s": signed_s,
        "cell": cell,
        "units": _UNITS,
        "rows_shown": ROWS_SHOWN,
        "starts_shown": STARTS_SHOWN,
    }


def span(seconds: float, language: Language) -> str:
    """A time that passed, in its two largest units: `2 小时 5 分`."""
    s = max(0, int(seconds))
    days, hours, minutes = s // 86400, s // 3600 % 24, s // 60 % 60
    if days:
        parts = [(days, "day"), (hours, "hour")]
    elif hours:
        parts = [(hours, "hour"), (minutes, "minute")]
    elif minutes:
        parts = [(minutes, "minute"), (s % 60, "second")]
    else:
        parts = [(s, "second")]
    return " ".join(f"{n} {text(unit, language)}" for n, unit in parts if n or len(parts) == 1)


def moment(at_ns: int, *, fine: bool = False) -> str:
    """A time as `2026-11-27 09:30:05`, local."""
    seconds, ns = divmod(at_ns, _NS_PER_S)
    at = datetime.fromtimestamp(seconds, UTC).astimezone(_LOCAL)
    return f"{at:%Y-%m-%d %H:%M:%S}" + (f".{ns // 1_000_000:03d}" if fine else "")


def number(value: float) -> str:
    """A value with at most seven digits that mean something, never in scientific notation while readable."""
    if abs(value) >= 1e12 or (value and abs(value) < 1e-6):
        return f"{value:.6g}"
    shown = f"{value:,.6f}" if abs(value) < 1 else f"{value:,.3f}"
    return shown.rstrip("0").rstrip(".")


def size(count: int) -> str:
    """Bytes in the unit that fits."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < _KIB or unit == "GiB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= _KIB
    raise AssertionError("the last unit takes everything")


def signed_s(milliseconds: int) -> str:
    """An offset with its sign, in s."""
    return f"{round(milliseconds / 100) / 10 or 0.0:+.1f} s"


def cell(key: str, value: object) -> str:
    """A value of a message as it was sent, but times as people read them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and key == "start":
        return moment(value * _NS_PER_S)
    if isinstance(value, int) and key.endswith("_ns"):
        return moment(value, fine=True) if value else "—"
    return str(value)
