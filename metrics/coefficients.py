"""Standard coal coefficients that come with the product, as dated rows with source and certainty.

Source: GB/T 2589-2020 综合能耗计算通则 (tables A.1 fuels, A.2 electricity and heat, B media) and, where it differs,
the edition of 2008, both in public copies; the standard's own text was not read. Dates of coming into force
are general knowledge (K). There is no row for the equivalent value (等价) of electricity: it follows the year's power
plants and has no constant, so a county enters its own dated row. Litres are not units here: density is a measurement.
"""

from __future__ import annotations

from typing import Final

from metrics.energy import Basis, Certainty, Coefficient

_2008: Final = 14_031
"""2008-06-01 as days since 1970-01-01: the edition of 2008 comes into force."""
_2020: Final = 18_718
"""2021-04-01: the edition of 2020 comes into force."""

_FIRM, _RANGE, _K, _W, _UNSAFE = (
    Certainty.FIRM,
    Certainty.RANGE,
    Certainty.KNOWLEDGE,
    Certainty.WEAK,
    Certainty.UNSAFE,
)

CARRIERS_ZH: Final = {
    "electricity": "电力",
    "heat": "热力",
    "raw-coal": "原煤",
    "washed-coal": "洗精煤",
    "coke": "焦炭",
    "fuel-oil": "燃料油",
    "crude-oil": "原油",
    "petrol": "汽油",
    "kerosene": "煤油",
    "diesel": "柴油",
    "lpg": "液化石油气",
    "lng": "液化天然气",
    "natural-gas": "天然气",
    "steam": "蒸汽(低压)",
    "biogas": "沼气",
    "methanol": "甲醇",
    "hydrogen": "氢",
    "fresh-water": "新水",
    "softened-water": "软化水",
    "deaerated-water": "除氧水",
    "compressed-air": "压缩空气",
    "oxygen": "氧气",
    "nitrogen-by-product": "氮气(副产)",
    "nitrogen": "氮气(主产)",
    "acetylene": "乙炔",
    "carbon-dioxide": "二氧化碳",
}
"""Chinese name of every carrier."""

_Row = tuple[str, str, int, Certainty] | tuple[str, str, int, Certainty, int, int]

_FUELS: Final[tuple[_Row, ...]] = (
    ("raw-coal", "kg", 714_300, _FIRM),
    ("washed-coal", "kg", 900_000, _FIRM),
    ("coke", "kg", 971_400, _FIRM),
    ("fuel-oil", "kg", 1_428_600, _FIRM),
    ("crude-oil", "kg", 1_428_600, _K),
    ("petrol", "kg", 1_471_400, _FIRM),
    ("kerosene", "kg", 1_471_400, _FIRM),
    ("diesel", "kg", 1_457_100, _FIRM),
    ("lpg", "kg", 1_714_300, _FIRM),
    ("lng", "kg", 1_757_200, _FIRM),
    ("natural-gas", "m3", 1_214_300, _RANGE, 1_100_000, 1_330_000),
    ("biogas", "m3", 714_300, _K, 714_300, 828_600),
    ("methanol", "kg", 679_400, _K),
    ("hydrogen", "m3", 332_900, _K),
)
"""A.1. One value for both bases: burning a fuel takes no other energy to make it."""

_MEDIA: Final[tuple[_Row, ...]] = (
    ("fresh-water", "t", 257_100, _W),
    ("softened-water", "t", 485_700, _W, 485_700, 486_700),
    ("deaerated-water", "t", 971_400, _W),
    ("compressed-air", "m3", 40_000, _FIRM),
    ("oxygen", "m3", 400_000, _K),
    ("nitrogen-by-product", "m3", 400_000, _K),
    ("nitrogen", "m3", 671_400, _K),
    ("acetylene", "m3", 8_314_300, _K),
    ("carbon-dioxide", "m3", 214_300, _K),
)
"""B. The energy that it takes to make them, so equivalent values only (that the table means these is (K))."""


def _of(row: _Row, basis: Basis, from_day: int, table: str, *, medium: bool = False) -> Coefficient:
    carrier, unit, micro, certainty = row[:4]
    least, most = (row[4], row[5]) if len(row) == 6 else (None, None)
    edition = "2020" if from_day == _2020 else "2008"
    source = f"GB/T 2589-{edition} 综合能耗计算通则，表 {table}"
    return Coefficient(carrier, unit, basis, micro, from_day, source, certainty, least, most, medium)


STANDARD_COAL: Final[tuple[Coefficient, ...]] = (
    _of(("electricity", "kWh", 122_900, _FIRM), "calorific", _2020, "A.2"),
    _of(("electricity", "kWh", 122_900, _K), "calorific", _2008, "A.1"),
    _of(("heat", "MJ", 34_120, _FIRM), "calorific", _2020, "A.2"),
    _of(("steam", "kg", 128_600, _UNSAFE, 94_300, 128_600), "calorific", _2008, "A.2"),
    *(_of(row, "calorific", _2020, "A.1") for row in _FUELS),
    *(_of(row, "equivalent", _2020, "A.1") for row in _FUELS),
    *(_of(row, "equivalent", _2020, "B", medium=True) for row in _MEDIA),
    _of(("fresh-water", "t", 85_700, _W), "equivalent", _2008, "B", medium=True),
)
"""Every row, in no order that matters: see metrics.energy.coefficient."""
