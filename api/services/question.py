"""What a figure is asked about: scope, period and the register and time that answer it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from api.schemas import Scope
from api.services.access import Reader
from api.services.periods import read_period
from api.services.register_view import RegisterView
from api.services.scopes import codes_in, read_scope
from metrics.record import local_day
from metrics.rollup import Period

if TYPE_CHECKING:
    from api.runtime import County

_NS: Final = 1_000_000_000
_AS_OF_STEP_S: Final = 10


@dataclass(frozen=True, slots=True)
class Question:
    """What a figure is asked about, with the register and the time it is answered by."""

    county: County
    view: RegisterView
    scope: Scope
    period: Period
    now_s: int
    look_back_days: int | None
    codes: set[str]
    """Credit codes of the enterprises in scope."""

    @property
    def register_day(self) -> int:
        """The local day whose register counts: the period's last, or today while it is not over."""
        return min(self.period.to_day - 1, int(local_day(self.now_s)))

    def with_period(self, period: Period) -> Question:
        """The same about another period."""
        return Question(self.county, self.view, self.scope, period, self.now_s, self.look_back_days, self.codes)


def ask(county: County, reader: Reader, scope: str | None, period: str | None, look_back_days: int | None) -> Question:
    """Read a question. Raises ProblemError."""
    now_s = county.clock.now_ns() // _NS // _AS_OF_STEP_S * _AS_OF_STEP_S
    view = county.register.view()
    found = read_scope(county, reader, scope)
    return Question(
        county, view, found, read_period(period, now_s), now_s, look_back_days, codes_in(county, view, found)
    )
