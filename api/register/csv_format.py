"""The register as a folder of CSV files: what `plantpulse-county import --folder DIR` reads.

UTF-8 (with or without byte order mark), comma separated, one heading row with exactly the columns below, in any
order. Every file except `enterprises.csv` may be missing or hold only its heading. Dates are local days
`YYYY-MM-DD`, months `YYYY-MM`; yes/no columns take `yes` or `no`; numbers have a decimal point and no separators. An
optional column may be empty, or left out. Spaces around a value, and full-width digits and spaces, are put right.

The import is all or nothing and reports every error with file, line, column, value and what was expected. Rows are
known by their key: a known key with other values changes that row (the old values are kept with the time until which
they were believed), a new key adds one, the same file again changes nothing. A row that is absent is left alone:
nothing is deleted by absence; set `valid_to` to end something.

| file | key | one row is |
|---|---|---|
| enterprises.csv | credit_code | an enterprise |
| sites.csv | site_id | a place of an enterprise; gateways, assets and meters stand at sites |
| assets.csv | credit_code, asset_number | a production machine (设备), not a meter |
| meters.csv | credit_code, meter_number | a meter: an object of its own, for one carrier |
| gateways.csv | gateway | a gateway; its credential is made by `plantpulse-county gateway add`, never in a file |
| bindings.csv | gateway, device, role, valid_from | from which local day a device speaks for an asset or meter |
| reports.csv | credit_code, month | what an enterprise reported for a month |
| groups.csv | kind, group_id | a chain (产业链) or park (园区): a scope beside industries and zones |
| memberships.csv | credit_code, kind, group_id, valid_from | from which local day an enterprise belongs to one |
| processes.csv | credit_code, process_number | a process of an enterprise's list (关键工序) |
| statistics.csv | indicator, year | an official figure of the county for a year, typed in |

`device` is the id that the gateway uses (`moulding-1`, `cnc-cell/SN4711`). A binding's role is `state` (times and
machine states come from it; one per asset at a time) or `quantity` (counted energy, water, gas; one per object at a
time). A device that gives both has two rows. `valid_to` is the last day, included; empty: without end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

ColumnKind = Literal[
    "text", "id", "device", "credit-code", "date", "month", "year", "yes-no", "number", "choice", "industry", "zone"
]

ASSET_CONTROLS: Final = ("cnc", "plc", "robot", "manual", "none")
"""How an asset is controlled; cnc, plc and robot count as numerically controlled."""

METER_ROLES: Final = ("import", "export", "generation", "sub")
"""Plant energy = import + generation − export; a `sub` meter has a parent and never adds to it."""

CARRIER_UNITS: Final = {"electricity": "kWh", "water": "m3", "gas": "m3", "heat": "GJ", "compressed-air": "m3"}
"""What a meter can count, and the one unit of each in the register."""

GROUP_KINDS: Final = ("chain", "park")
BINDING_KINDS: Final = ("asset", "meter")
BINDING_ROLES: Final = ("state", "quantity")


@dataclass(frozen=True, slots=True)
class CsvColumn:
    """One column of a register file: its name, what it holds, and whether it may be empty."""

    name: str
    kind: ColumnKind
    required: bool
    meaning: str
    choices: tuple[str, ...] = ()
    default: str = ""


def _must(name: str, kind: ColumnKind, meaning: str, choices: tuple[str, ...] = ()) -> CsvColumn:
    return CsvColumn(name, kind, True, meaning, choices)


def _may(name: str, kind: ColumnKind, meaning: str, choices: tuple[str, ...] = (), default: str = "") -> CsvColumn:
    return CsvColumn(name, kind, False, meaning, choices, default)


_VALID = (
    _may("valid_from", "date", "first local day; empty: 2000-01-01", default="2000-01-01"),
    _may("valid_to", "date", "last local day, included; empty: without end"),
)
_IDENTITY = (
    _may("manufacturer", "text", "maker, as on the badge"),
    _may("model", "text", "model, as on the badge"),
    _may("serial", "text", "serial number, as on the badge"),
)

REGISTER_FILES: Final[dict[str, tuple[CsvColumn, ...]]] = {
    "enterprises.csv": (
        _must("credit_code", "credit-code", "统一社会信用代码, 18 signs with check digit (GB 32100-2015)"),
        _must("name_zh", "text", "registered name"),
        _may("industry_id", "industry", "id of the plan's industries.csv"),
        _may("zone_id", "zone", "zone_id of the plan's zones.csv (a zone or an area)"),
        _may("register_confirmed", "yes-no", "whether the enterprise confirmed its list of assets", default="no"),
    ),
    "sites.csv": (
        _must("site_id", "id", "short id: letters, digits, - _ ."),
        _must("credit_code", "credit-code", "the enterprise it belongs to"),
        _must("name_zh", "text", "name of the place"),
        _may("zone_id", "zone", "zone or area of the place; empty: that of the enterprise"),
    ),
    "assets.csv": (
        _must("credit_code", "credit-code", "the enterprise that owns it"),
        _must("asset_number", "id", "设备编号, unique within the enterprise"),
        _must("name_zh", "text", "name of the machine"),
        _must("asset_class", "text", "machine class, e.g. cnc, robot, injection-moulding, edm, press, lathe"),
        _must("control", "choice", "how it is controlled", ASSET_CONTROLS),
        _may("in_scope", "yes-no", "whether it is production equipment that the rates count", default="yes"),
        _may("scope_reason", "text", "why it is in or out of scope"),
        _may("site_id", "id", "where it stands; empty: not said"),
        *_IDENTITY,
        _may("original_value_wan", "number", "original value (原值), 万元; empty: not known"),
        _may("declared_networked", "yes-no", "whether the enterprise says that it is networked; empty: not said"),
        *_VALID,
    ),
    "meters.csv": (
        _must("credit_code", "credit-code", "the enterprise that owns it"),
        _must("meter_number", "id", "number of the meter, unique within the enterprise"),
        _must("name_zh", "text", "name of the meter"),
        _must("carrier", "choice", "what it counts", tuple(CARRIER_UNITS)),
        _must("meter_role", "choice", "its place at the plant's border, or below another meter", METER_ROLES),
        _may("parent", "id", "meter_number of the meter that contains it; required for role sub"),
        _may("site_id", "id", "where it stands; empty: not said"),
        *_IDENTITY,
        *_VALID,
    ),
    "gateways.csv": (
        _must("gateway", "id", "the id under which it sends"),
        _must("site_id", "id", "where it stands"),
    ),
    "bindings.csv": (
        _must("gateway", "id", "gateway that reads the device"),
        _must("device", "device", "device id as the gateway sends it"),
        _must("credit_code", "credit-code", "the enterprise that owns the asset or meter"),
        _must("kind", "choice", "what it is bound to", BINDING_KINDS),
        _must("number", "id", "asset_number or meter_number"),
        _must("role", "choice", "state: times come from it; quantity: counted amounts", BINDING_ROLES),
        _must("valid_from", "date", "first local day"),
        _may("valid_to", "date", "last local day, included; empty: without end"),
    ),
    "reports.csv": (
        _must("credit_code", "credit-code", "the enterprise that reports"),
        _must("month", "month", "the month it speaks of"),
        _may("value_added_wan", "number", "value added of the month, 万元 (CNY 10,000), current prices"),
        _may("output_wan", "number", "gross output of the month, 万元, current prices"),
    ),
    "groups.csv": (
        _must("kind", "choice", "what it is", GROUP_KINDS),
        _must("group_id", "id", "short id: letters, digits, - _ ."),
        _must("name_zh", "text", "its name"),
    ),
    "memberships.csv": (
        _must("credit_code", "credit-code", "the enterprise that belongs to it"),
        _must("kind", "choice", "what it belongs to", GROUP_KINDS),
        _must("group_id", "id", "of groups.csv; an enterprise may belong to several chains"),
        *_VALID,
    ),
    "processes.csv": (
        _must("credit_code", "credit-code", "the enterprise whose process it is"),
        _must("process_number", "id", "number of the process, unique within the enterprise"),
        _must("name_zh", "text", "name of the process"),
        _may("key_process", "yes-no", "whether it is a key process (关键工序)", default="yes"),
        _may("controlled", "yes-no", "whether it is under NC, DNC, FMC, PLC or DCS control; empty: not known"),
    ),
    "statistics.csv": (
        _must("indicator", "id", "id of the plan's indicator table, or another name that a definition asks for"),
        _must("year", "year", "the year it speaks of"),
        _must("value", "number", "the official value, in the indicator's unit"),
        _must("source", "text", "who published it, and where"),
    ),
}
"""The files in the order in which they are read: a file refers only to files above it."""
