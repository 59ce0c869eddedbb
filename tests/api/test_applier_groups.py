"""How the applier groups what waits: full groups, or small ones that stay below a row group of the store."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest

from api.applier import GROUP_ROWS, SMALL_GROUP_ROWS, Applier
from api.journal.batch import Batch
from api.store.port import Append, StoreError
from metrics.record import RECORD_COLUMNS, Records

ROWS = 1000
ONE = Records(**{c.name: np.zeros(ROWS, c.dtype) for c in RECORD_COLUMNS})


class Remembering:
    """A journal that ends at a position, and a store that remembers how large its groups were."""

    def __init__(self, position: int) -> None:
        self.position = position
        self.groups: list[int] = []

    def after(self, position: int, limit: int) -> list[Batch]:
        raise AssertionError("everything is at hand")

    def applied(self) -> int:
        return 0

    def append(self, batches: Sequence[Append], applied: int) -> None:
        self.groups.append(sum(len(b.records) for b in batches))


@pytest.mark.parametrize(
    ("waiting_rows", "groups"),
    [
        (20 * ROWS, [20 * ROWS]),
        (SMALL_GROUP_ROWS, [SMALL_GROUP_ROWS]),
        (SMALL_GROUP_ROWS + ROWS, [SMALL_GROUP_ROWS, ROWS]),
        (GROUP_ROWS - ROWS, [SMALL_GROUP_ROWS, GROUP_ROWS - ROWS - SMALL_GROUP_ROWS]),
        (GROUP_ROWS, [GROUP_ROWS]),
        (GROUP_ROWS + 30 * ROWS, [GROUP_ROWS, 30 * ROWS]),
    ],
)
def test_a_group_is_full_or_stays_below_a_row_group(waiting_rows: int, groups: list[int]) -> None:
    both = Remembering(waiting_rows // ROWS)
    applier = Applier(both, both, lambda _: None)  # type: ignore[arg-type] # of the store only what is used
    for position in range(1, both.position + 1):
        applier.offer(Append(position, "gw", ["d"], ONE))
    applier.start()
    applied = applier.wait_applied(both.position, 30.0)
    applier.close()
    assert applied
    assert both.groups == groups


def test_a_store_is_behind_when_two_groups_wait_for_it_and_not_when_it_fails() -> None:
    both = Remembering(2 * GROUP_ROWS // ROWS)
    failed = threading.Event()

    def fail(batches: Sequence[Append], applied: int) -> None:
        failed.set()
        raise StoreError("away")

    applier = Applier(both, both, lambda _: None)  # type: ignore[arg-type] # of the store only what is used
    for position in range(1, both.position + 1):
        assert not applier.behind
        applier.offer(Append(position, "gw", ["d"], ONE))
    assert applier.behind
    both.append = fail  # type: ignore[method-assign]
    applier.start()
    assert failed.wait(30.0)
    applier.close()
    assert applier.last_error == "StoreError: away"
    assert not applier.behind
