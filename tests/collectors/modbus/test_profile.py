"""A wrong profile is refused with file, line and what is permitted, in both languages."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.modbus.profile import load_modbus
from collectors.strict_yaml import FileError

HEAD = """\
profile: mine
protocol: modbus
device_class: plc
evidence: native
title_zh: 测试
title_en: test
source: {document: sheet}
liveness_s: 5
"""

WRONG = {
    "overlapping role": ("points:\n  - {tag: power, at: 0, type: f32}\n  - {tag: power, at: 2, type: f32}\n", "twice"),
    "unknown type": ("points:\n  - {tag: power, at: 0, type: float32}\n", "f32"),
    "unknown order": ("points:\n  - {tag: power, at: 0, type: f32, order: AB}\n", "ABCD, CDAB, BADC, DCBA"),
    "tag outside the vocabulary": ("points:\n  - {tag: pwer, at: 0, type: f32}\n", "not in the vocabulary"),
    "unit of a known tag": ("points:\n  - {tag: power, at: 0, type: f32, unit: W}\n", "comes from the vocabulary (kW)"),
    "state without states": ("points:\n  - {tag: state, at: 0, type: u16}\n", "states or bit_states"),
    "bit without a number": ("points:\n  - {tag: guard_closed, at: 0, type: bit}\n", "bit number"),
    "below the first register": (
        "count_from: 40001\npoints:\n  - {tag: power, at: 40000, type: f32}\n",
        "outside 0 to 65535",
    ),
    "beyond the last register": ("points:\n  - {tag: power, at: 65535, type: f32}\n", "outside 0 to 65535"),
    "liveness too short": ("every_s: 4\npoints:\n  - {tag: power, at: 0, type: f32}\n", "twice the poll period"),
    "block too long": (
        """points:
  - {tag: energy_import, at: 0, type: u32, block: e}
  - {tag: energy_export, at: 200, type: u32, block: e}
""",
        "202 registers",
    ),
    "point in a hole": (
        "holes: [{first: 1, last: 9}]\npoints:\n  - {tag: power, at: 0, type: f32}\n",
        "within the hole 1 to 9",
    ),
    "hole the wrong way round": (
        "holes: [{first: 9, last: 1}]\npoints:\n  - {tag: power, at: 0, type: f32}\n",
        "last must not be below first",
    ),
    "ratio that is no point": ("points:\n  - {tag: power, at: 0, type: f32, times: [ratio]}\n", "is no point"),
    "scale register that is no point": ("points:\n  - {tag: power, at: 0, type: f32, exponent: sf}\n", "is no point"),
    "ratio read at another time": (
        """points:
  - {tag: power, at: 0, type: f32, times: [ct_ratio]}
  - {tag: ct_ratio, at: 2, type: u16, every_s: 60}
""",
        "share one poll period",
    ),
    "ratio of a ratio": (
        """points:
  - {tag: power, at: 0, type: f32, times: [ct_ratio]}
  - {tag: ct_ratio, at: 2, type: u16, times: [pt_ratio]}
""",
        "cannot have times",
    ),
    "text without a length": (
        "identity: [{field: serial, at: 9, type: string}]\npoints:\n  - {tag: power, at: 0, type: f32}\n",
        "needs registers",
    ),
    "unknown key": ("word_order: big\npoints:\n  - {tag: power, at: 0, type: f32}\n", "unknown key"),
    "thresholds without power": (
        """power_thresholds: {off_below_kw: 0.1, running_above_kw: 1, hysteresis_kw: 0.1, dwell_s: 5}
points:
  - {tag: parts, at: 0, type: u32}
""",
        "need a point power",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_is_refused(case: str, tmp_path: Path) -> None:
    body, expected = WRONG[case]
    (tmp_path / "mine.yaml").write_text(HEAD + body, encoding="utf-8")
    with pytest.raises(FileError) as failure:
        load_modbus("mine", [tmp_path])
    problem = failure.value.problems[0]
    assert expected in problem.en or expected in problem.zh
    assert problem.zh != problem.en
    assert problem.line >= 1
    assert problem.file.endswith("mine.yaml")


def test_liveness_of_what_is_polled_fast_is_at_most_6_s(tmp_path: Path) -> None:
    text = HEAD.replace("liveness_s: 5", "liveness_s: 7") + "points:\n  - {tag: power, at: 0, type: f32}\n"
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(FileError, match="at most 6"):
        load_modbus("mine", [tmp_path])


def test_counters_wrap_at_the_width_of_their_type(tmp_path: Path) -> None:
    points = (
        "points:\n  - {tag: energy_import, at: 0, type: u32, scale: 0.01}\n  - {tag: parts, at: 2, type: bcd32}\n"
        "  - {tag: cycle_count, at: 4, type: u16}\n"
    )
    (tmp_path / "mine.yaml").write_text(HEAD + points, encoding="utf-8")
    moduli = {tag.name: tag.modulus for tag in load_modbus("mine", [tmp_path]).tags}
    assert moduli == {"energy_import": pytest.approx(42_949_672.96), "parts": 1e8, "cycle_count": None}


def test_a_counter_s_own_modulus_rules(tmp_path: Path) -> None:
    points = "points:\n  - {tag: energy_import, at: 0, type: f32, modulus: 1000000}\n"
    (tmp_path / "mine.yaml").write_text(HEAD + points, encoding="utf-8")
    assert load_modbus("mine", [tmp_path]).tags[0].modulus == 1e6
