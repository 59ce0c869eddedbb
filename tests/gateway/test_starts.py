"""Why the last run ended: told from a small file, the machine's boot and its watchdog."""

from __future__ import annotations

import configparser
from pathlib import Path

import msgspec
import pytest

from gateway.starts import FILE, MOST, Starts

DROP_IN = Path(__file__).parents[2] / "deploy/systemd/plantpulse-watchdog.conf"
PI_MOST_S = 15


def begun(folder: Path, boot: str, at_ns: int = 1, root: Path | None = None) -> Starts:
    starts = Starts(folder, root or folder / "no-sys")
    starts.begin(at_ns, boot)
    return starts


def cause(starts: Starts) -> str:
    return str(starts.as_json()["starts"][0]["cause"])


def bootstatus(root: Path, text: str, number: int = 0) -> Path:
    folder = root / f"sys/class/watchdog/watchdog{number}"
    folder.mkdir(parents=True)
    (folder / "bootstatus").write_text(text)
    return root


def test_each_end_of_a_run_is_told_from_the_others(tmp_path: Path) -> None:
    assert cause(begun(tmp_path, "boot-a")) == "first"
    killed = begun(tmp_path, "boot-a")
    assert cause(killed) == "killed"
    killed.end()
    ordered = begun(tmp_path, "boot-a")
    assert cause(ordered) == "ordered"
    ordered.end()
    assert cause(begun(tmp_path, "boot-b")) == "ordered", "a machine that was shut down in order"
    assert cause(begun(tmp_path, "boot-c")) == "machine"
    assert cause(begun(tmp_path, "")) == "unknown"
    last = begun(tmp_path, "boot-d")
    assert cause(last) == "unknown", "nobody knows in which boot the run before was"
    assert last.counts == {"first": 1, "killed": 1, "ordered": 2, "machine": 1, "unknown": 2}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("0x20", "watchdog"),
        ("32", "watchdog"),
        ("0x8020\n", "watchdog"),
        ("0", "machine"),
        ("0x8000", "machine"),
        ("?", "machine"),
    ],
)
def test_a_reset_by_the_hardware_watchdog_is_told_at_the_first_start_after_it(
    tmp_path: Path, status: str, expected: str
) -> None:
    root = bootstatus(tmp_path / "root", "0\n")
    bootstatus(root, status, 1)
    begun(tmp_path, "boot-a", root=root)
    assert cause(begun(tmp_path, "boot-b", root=root)) == expected
    again = begun(tmp_path, "boot-b", root=root)
    assert cause(again) == "killed", "the bit stays up till the next boot: it tells of the first start only"
    again.end()
    assert cause(begun(tmp_path, "boot-c", root=root)) == "ordered", "the order came before the reset"


def test_a_start_gets_its_date_when_the_time_is_known(tmp_path: Path) -> None:
    starts = begun(tmp_path, "boot-a", at_ns=0)
    assert starts.is_undated
    starts.date(7)
    assert not starts.is_undated
    assert [start["at_ns"] for start in begun(tmp_path, "boot-a", at_ns=9).as_json()["starts"]] == [9, 7]


def test_the_last_starts_are_kept_and_all_are_counted(tmp_path: Path) -> None:
    for k in range(MOST + 5):
        starts = begun(tmp_path, "boot-a", at_ns=k + 1)
    told = starts.as_json()
    assert [start["at_ns"] for start in told["starts"]] == list(range(MOST + 5, 5, -1)), "the latest first"
    assert told["starts_by_cause"] == {"first": 1, "killed": MOST + 4}
    assert (tmp_path / FILE).stat().st_size < 4096


def test_a_list_that_cannot_be_read_is_begun_anew_and_says_so(tmp_path: Path) -> None:
    begun(tmp_path, "boot-a")
    (tmp_path / FILE).write_bytes(b'{"starts": [')
    assert cause(begun(tmp_path, "boot-a")) == "unknown", "not the first: there was something"
    assert cause(begun(tmp_path, "boot-a")) == "killed"


def test_a_file_of_a_later_version_is_read(tmp_path: Path) -> None:
    begun(tmp_path, "boot-a")
    known = msgspec.json.decode((tmp_path / FILE).read_bytes())
    known["starts"][0]["added"] = known["added"] = {"later": 1}
    (tmp_path / FILE).write_bytes(msgspec.json.encode(known))
    assert cause(begun(tmp_path, "boot-a")) == "killed"


def test_a_disk_that_takes_nothing_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    starts = begun(tmp_path, "boot-a")
    assert cause(starts) == "unknown"
    starts.end()


def test_the_drop_in_for_systemd_keeps_within_the_smallest_watchdog() -> None:
    parsed = configparser.ConfigParser()
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read_string(DROP_IN.read_text("utf-8"))
    assert parsed.sections() == ["Manager"]
    runtime = parsed["Manager"]["RuntimeWatchdogSec"]
    assert 5 <= int(runtime.removesuffix("s")) <= PI_MOST_S
