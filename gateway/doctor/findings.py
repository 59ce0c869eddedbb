"""What a check finds: good, doubtful or bad, why, and what to do next, in Chinese and English."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Verdict = Literal["ok", "warn", "fail"]
_MARKS: Final = {"ok": "✓", "warn": "!", "fail": "✗"}


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check. `check` is stable and machine-readable; `subject`: what was looked at."""

    check: str
    verdict: Verdict
    zh: str
    en: str
    next_zh: str = ""
    next_en: str = ""
    subject: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    """Numbers behind it; the unit is in the name."""

    def as_json(self) -> dict[str, Any]:
        """For `--json` and the bundle."""
        return {
            "check": self.check,
            "subject": self.subject,
            "result": self.verdict,
            "zh": self.zh,
            "en": self.en,
            "next_zh": self.next_zh,
            "next_en": self.next_en,
            "values": self.values,
        }

    def as_text(self) -> str:
        """For people."""
        head = f"{_MARKS[self.verdict]} {self.check}" + (f"  {self.subject}" if self.subject else "")
        told = [self.zh, self.en]
        if self.verdict != "ok":
            told += [f"→ {step}" for step in (self.next_zh, self.next_en) if step]
        return "\n".join([head, *(f"    {line}" for line in told)])


def report_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """All findings; `ok` where none is bad."""
    return {"ok": is_well(findings), "checks": [finding.as_json() for finding in findings]}


def report_text(findings: Sequence[Finding]) -> str:
    """All findings, and how many of each."""
    counts = {verdict: sum(f.verdict == verdict for f in findings) for verdict in _MARKS}
    last = (
        f"{counts['ok']} 项正常，{counts['warn']} 项提醒，{counts['fail']} 项不通过。/ "
        f"{counts['ok']} well, {counts['warn']} to watch, {counts['fail']} failed."
    )
    return "\n".join([*(finding.as_text() for finding in findings), last])


def is_well(findings: Iterable[Finding]) -> bool:
    """Whether nothing is bad."""
    return all(finding.verdict != "fail" for finding in findings)
