"""The soak at a scale of minutes: its lines are what hours of it are judged by."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.soak.__main__ import main
from tests.soak.slope import Held, held, slope_mb_per_h

ROOT = Path(__file__).parents[2]


def taken(*rss_mb: float) -> list[Held]:
    return [Held(360.0 * n, mb, 20, 3) for n, mb in enumerate(rss_mb)]


def test_a_slope_is_in_megabytes_an_hour() -> None:
    assert slope_mb_per_h(taken(50.0, 50.1, 50.2, 50.3)) == pytest.approx(1.0)
    assert slope_mb_per_h(taken(50.0, 49.0, 48.0)) == pytest.approx(-10.0)
    assert slope_mb_per_h(taken(50.0, 50.0, 50.0)) == 0.0


def test_one_outlier_is_not_a_leak() -> None:
    slope = slope_mb_per_h(taken(*[50.0] * 50, 55.0, *[50.0] * 50))
    assert slope is not None
    assert abs(slope) < 0.1


def test_a_slope_of_one_instant_is_not_known() -> None:
    assert slope_mb_per_h(taken(50.0)) is None
    assert slope_mb_per_h([]) is None


def test_what_a_process_holds_is_read_from_the_kernel() -> None:
    before = held(os.getpid(), 0.0)
    with (ROOT / "README.md").open("rb"):
        after = held(os.getpid(), 1.0)
    assert after.descriptors == before.descriptors + 1
    assert 5 < after.rss_mb < 5000


@pytest.mark.parametrize("arguments", [["--hours", "0"], ["--hours", "1", "--folder", "FULL"]])
def test_a_run_that_cannot_be_is_refused_before_anything_is_replaced(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path) if a == "FULL" else a for a in arguments])
    assert ended.value.code == 2
    assert (tmp_path / "mine").read_text() == "kept"


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_short_soak_ends_by_itself_and_loses_and_doubles_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.soak", "--hours", "0.015", "--folder", str(tmp_path / "soak")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, cwd=ROOT)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    started, *parts, ended = lines_of(ran.stdout)
    assert started["event"] == "started"
    assert [line["event"] for line in parts] == ["hour"] * 3
    assert [line["hour"] for line in parts] == [1, 2, 3]
    for line in parts:
        assert isinstance(line["slope_mb_per_h"], float)
        assert line["descriptors"] > 10
        assert line["rss_mb"] > 20
        assert line["records_lost"] == line["records_doubled"] == line["records_dropped"] == 0
    assert parts[0]["samples"] < parts[1]["samples"] < parts[2]["samples"]
    assert ended["ok"] is True
    assert ended["quantities_differ"] == []
    assert ended["records_written"] > parts[-1]["records_written"] > 0


@pytest.mark.long
@pytest.mark.timeout(200)
def test_a_soak_that_is_interrupted_says_what_it_knows(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.soak", "--hours", "72", "--folder", str(tmp_path / "soak")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "started"
        process.send_signal(signal.SIGINT)
        said, complaint = process.communicate(timeout=180)
    part, ended = lines_of(said)
    assert part["event"] == "hour"
    assert (ended["event"], ended["ok"]) == ("ended", True), complaint
    assert ended["hours"] < 0.02
