"""The harness itself: what a line says, and that a short one is not dropped."""

from __future__ import annotations

import json

from tests.benchmarks.measure import at_most, interleaved, machine, ratio_at_most


def test_a_line_holds_exactly_what_is_agreed() -> None:
    line = json.loads(ratio_at_most("metrics.linear", 2.0, "s CPU", 1.0, "half the devices", 2.1).json())
    assert list(line) == ["name", "value", "unit", "ratio", "against", "goal", "ok"]
    assert (line["ratio"], line["goal"], line["ok"]) == (2.0, "<= 2.1 x", True)


def test_a_goal_that_was_not_reached_says_so() -> None:
    assert json.loads(at_most("county.ingest", 1.6, "us", 1.5).json())["ok"] is False
    assert json.loads(ratio_at_most("metrics.linear", 2.2, "s", 1.0, "x", 2.1).json())["ok"] is False


def test_sides_take_turns_after_a_warm_up() -> None:
    calls: list[str] = []
    interleaved(2, lambda: calls.append("ours"), lambda: calls.append("theirs"))
    assert calls == ["ours", "theirs"] * 3


def test_the_machine_is_named() -> None:
    assert "Python 3." in machine()
