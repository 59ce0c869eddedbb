"""Samples on their way out: the ring, line protocol, messages."""

from __future__ import annotations

import random
import re
from itertools import pairwise

import msgspec
import numpy as np
import pytest

from collectors.model import Quality, Role, Samples, Tag
from gateway.outputs.influx_lines import lines_of
from gateway.outputs.mqtt_messages import messages_of
from gateway.outputs.rows import RowQueue
from tests.gateway.outputs.plants import START_NS, rows_of, samples
from tests.gateway.scripted import device


def test_the_ring_keeps_the_newest_rows_in_order_and_counts_what_it_pushes_out() -> None:
    rng = random.Random(3)
    queue, kept, pushed_out, taken, next_value = RowQueue(1000), [], 0, [], 0
    for _ in range(500):
        n = rng.choice([0, 1, 7, 300, 1400])
        values = [float(v) for v in range(next_value, next_value + n)]
        next_value += n
        pushed_out += queue.put(device(), samples(values))
        kept = (kept + values)[-1000:]
        most = rng.choice([0, 1, 200, 2000])
        rows = queue.take(most)
        assert rows.value.tolist() == kept[:most]
        taken += kept[:most]
        kept = kept[most:]
        assert len(queue) == len(kept)
    assert len(taken) + pushed_out + len(queue) == next_value
    assert all(a < b for a, b in pairwise(taken))


def test_rows_know_the_device_as_it_was_when_they_were_read() -> None:
    queue = RowQueue(1000)
    before, after = device(tags=(Tag("power", "kW", Role.POWER),)), device(tags=(Tag("speed", "1/min"),))
    queue.put(before, samples([1.0]))
    queue.put(after, samples([2.0]))
    queue.put(device("m-2", tags=after.tags), samples([3.0]))
    rows = queue.take(10)
    names = [(rows.devices[d].id, rows.devices[d].tags[t].name) for d, t in zip(rows.device, rows.tag, strict=True)]
    assert names == [("m-1", "power"), ("m-1", "speed"), ("m-2", "speed")]


def test_a_device_that_changes_all_the_time_is_not_remembered_for_ever() -> None:
    queue = RowQueue(1000)
    for n in range(5000):
        queue.put(device(tags=(Tag(f"t{n}"),)), samples([float(n)]))
    assert len(queue._devices) <= 2100
    rows = queue.take(1000)
    assert [rows.devices[d].tags[0].name for d in rows.device.tolist()] == [f"t{n}" for n in range(4000, 5000)]


def test_the_time_line_moves_only_the_gateways_own_time() -> None:
    queue = RowQueue(1000)
    queue.put(device(), samples([1.0], source_ns=5_000_000), ahead_ns=7)
    rows = queue.take(1)
    assert rows.received_ns.tolist() == [START_NS + 7]
    assert rows.source_ns.tolist() == [START_NS - 5_000_000]


def test_a_line_names_gateway_device_tag_and_unit_and_keeps_both_times() -> None:
    good = rows_of(21.5, tag=1, source_ns=2_500_000)
    series, fields, at_ns = lines_of(good, "plantpulse", "g-1")[0].split(" ")
    assert series == "plantpulse,gateway=g-1,device=m-1,tag=energy,unit=kWh"
    assert fields == "value=21.5,quality=0i,lag_us=2500i"
    assert int(at_ns) == START_NS - 2_500_000


def test_a_bad_sample_has_no_value_and_says_that_it_is_bad() -> None:
    bad = rows_of(7.0, quality=Quality.BAD)
    assert lines_of(bad, "m", "g") == [f"m,gateway=g,device=m-1,tag=state quality=2i {START_NS}"]
    ((_, payload),) = messages_of(bad, "raw")
    assert msgspec.json.decode(payload)["quality"] == "bad"
    assert "value" not in msgspec.json.decode(payload)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_what_is_no_number_is_never_sent_as_one(value: float) -> None:
    assert "value=" not in lines_of(rows_of(value), "m", "g")[0]
    ((_, payload),) = messages_of(rows_of(value), "raw")
    assert "value" not in msgspec.json.decode(payload)


def test_names_with_signs_of_the_syntax_stay_one_tag() -> None:
    odd = device("cell/a b,c=d\\", tags=(Tag("line\nend", "m³/h"),))
    queue = RowQueue(1000)
    queue.put(odd, samples([1.0]))
    (line,) = lines_of(queue.take(1), "m", "g")
    assert line == f"m,gateway=g,device=cell/a\\ b\\,c\\=d_,tag=line_end,unit=m³/h value=1.0,quality=0i {START_NS}"


def test_a_topic_is_prefix_device_and_tag_whatever_their_names() -> None:
    odd = device("cell/robot+1/#", tags=(Tag("Axis/Torque%", "N·m"), Tag("")))
    queue = RowQueue(1000)
    queue.put(odd, Samples.of([0, 1], [1.5, 2.5], np.full(2, START_NS)))
    messages = dict(messages_of(queue.take(2), "factory/raw"))
    assert list(messages) == ["factory/raw/cell/robot%2B1%2F%23/Axis%2FTorque%25", "factory/raw/cell/robot%2B1%2F%23/%"]
    first = msgspec.json.decode(next(iter(messages.values())))
    assert first["value"] == 1.5
    assert first["unit"] == "N·m"
    assert re.fullmatch(r"2026-09-21T\d\d:\d\d:\d\d\.\d{9}Z", first["time"])
    assert first["time"] == first["received"]
