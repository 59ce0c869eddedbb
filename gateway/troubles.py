"""What a person should know now: kept by subject, logged only when it changes."""

from __future__ import annotations

from collections import Counter as Counts

import structlog

from collectors.model import Trouble

_log = structlog.get_logger("gateway")


class Troubles:
    """The open troubles of a gateway, at most one for each subject and code."""

    def __init__(self) -> None:
        self._open: dict[str, Trouble] = {}
        self.opened: Counts[str] = Counts()
        """How often a trouble of each code was opened since the start."""

    def report(self, trouble: Trouble) -> None:
        """Open, replace or (code "") close the trouble of a subject; a log line only where that changes it."""
        known = self._open.get(trouble.subject)
        if not trouble.code:
            if known is not None:
                del self._open[trouble.subject]
                _log.info("trouble over", subject=trouble.subject, code=known.code)
            return
        self._open[trouble.subject] = trouble
        if known is None or known.code != trouble.code:
            self.opened[trouble.code] += 1
            _log.warning(
                "trouble",
                subject=trouble.subject,
                code=trouble.code,
                zh=trouble.zh,
                en=trouble.en,
                next_zh=trouble.next_zh,
                next_en=trouble.next_en,
            )

    def clear(self, subject: str) -> None:
        """The subject is well."""
        self.report(Trouble(subject, ""))

    def forget(self, subject: str) -> None:
        """A device (with all its `subject/…`) or a link is no longer there."""
        for known in [known for known in self._open if known == subject or known.startswith(f"{subject}/")]:
            self.clear(known)

    def listed(self) -> list[Trouble]:
        """All open troubles, by subject."""
        return [self._open[subject] for subject in sorted(self._open)]


def as_json(trouble: Trouble) -> dict[str, str]:
    """A trouble for programs."""
    return {
        "subject": trouble.subject,
        "code": trouble.code,
        "zh": trouble.zh,
        "en": trouble.en,
        "next_zh": trouble.next_zh,
        "next_en": trouble.next_en,
    }
