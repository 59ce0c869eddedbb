"""What people are told of a server's devices: once, again when something else is over, and that it is over."""

from __future__ import annotations

from collectors.model import Trouble


class Telling:
    """Open troubles by subject and key; `take` gives what is new.

    The gateway shows one trouble a subject, so what is left is said again when another is over.
    """

    def __init__(self) -> None:
        self._open: dict[str, dict[str, Trouble]] = {}
        self._shown: dict[str, Trouble] = {}
        self._news: list[Trouble] = []

    def __bool__(self) -> bool:
        return bool(self._news)

    def say(self, trouble: Trouble, key: str = "") -> None:
        """Open or replace the trouble of a subject and key (its code where none is given)."""
        self._open.setdefault(trouble.subject, {})[key or trouble.code] = trouble
        self._show(trouble.subject, trouble)

    def over(self, subject: str, key: str) -> None:
        """What was said under this key is over; nothing where it was not said."""
        troubles = self._open.get(subject, {})
        if troubles.pop(key, None) is not None:
            self._show(subject, next(reversed(troubles.values()), None))

    def begin_anew(self) -> dict[str, dict[str, Trouble]]:
        """Another session says what is wrong now. Give the answer to `end_of_beginning`."""
        before, self._open = self._open, {}
        return before

    def end_of_beginning(self, before: dict[str, dict[str, Trouble]]) -> None:
        """What an earlier session said and this one did not is over."""
        for subject in before:
            if not self._open.get(subject):
                self._show(subject, None)

    def is_open(self, subject: str, key: str) -> bool:
        """Whether this was said and is not over."""
        return key in self._open.get(subject, {})

    def take(self) -> list[Trouble]:
        """What was said since this was last asked for."""
        news, self._news = self._news, []
        return news

    def _show(self, subject: str, trouble: Trouble | None) -> None:
        if self._shown.get(subject) == trouble:
            return
        if trouble is None:
            del self._shown[subject]
        else:
            self._shown[subject] = trouble
        self._news.append(trouble or Trouble(subject, ""))
