"""The hand-over between a subscription and the runner: bounded, in order, what it sheds is counted."""

from __future__ import annotations

import numpy as np

from collectors.opcua.inbox import Chunk, Inbox


def chunk(received_ns: int, *rows: tuple[int, int, float]) -> Chunk:
    return Chunk.of([(device, tag, value, 0, received_ns - 5) for device, tag, value in rows], received_ns)


def test_rows_come_out_by_device_in_the_order_of_arrival() -> None:
    inbox = Inbox()
    inbox.put(chunk(100, (1, 0, 1.0), (0, 2, 2.0), (1, 1, 3.0)))
    inbox.put(chunk(200, (0, 2, 4.0), (1, 0, 5.0)))
    taken = dict(inbox.take())
    assert list(taken) == [0, 1]
    assert taken[0].value.tolist() == [2.0, 4.0]
    assert taken[0].tag.tolist() == [2, 2]
    assert taken[0].received_ns.tolist() == [100, 200]
    assert taken[0].source_ns.tolist() == [95, 195]
    assert taken[1].value.tolist() == [1.0, 3.0, 5.0]
    assert taken[1].tag.dtype == np.uint16
    assert len(inbox) == 0
    assert inbox.take() == []


def test_beyond_the_limit_the_oldest_publications_go_and_are_counted() -> None:
    inbox = Inbox(limit=4)
    for moment in range(5):
        inbox.put(chunk(moment, (0, 0, float(moment)), (0, 1, -1.0)))
    assert len(inbox) == 4
    assert inbox.shed_rows == 6
    ((_, samples),) = inbox.take()
    assert samples.received_ns.tolist() == [3, 3, 4, 4]


def test_an_empty_publication_is_no_news() -> None:
    inbox = Inbox()
    inbox.put(Chunk.of([], 1))
    assert len(inbox) == 0
    assert inbox.take() == []
