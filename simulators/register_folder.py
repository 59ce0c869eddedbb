"""The scenario's register as the folder of CSV files that `plantpulse-county import --folder` reads.

The columns are written here by hand from the county's published format: a simulator that took them
from the county's code could not notice when that format changes.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

from simulators.scenario import Scenario

_YES_NO = {True: "yes", False: "no"}


def write_register(folder: Path, scenario: Scenario, *, bound_from: date, report_month: str) -> None:
    """Write every register file of a scenario into `folder`.

    `bound_from`: the local day from which the devices speak for their assets and meters;
    `report_month`: the month `YYYY-MM` that the enterprise's report speaks of.
    """
    folder.mkdir(parents=True, exist_ok=True)
    enterprise, site = scenario.enterprise, scenario.site
    code = enterprise.credit_code
    _write(
        folder / "enterprises.csv",
        ("credit_code", "name_zh", "industry_id", "zone_id", "register_confirmed"),
        [
            (
                code,
                enterprise.name_zh,
                enterprise.industry_id,
                enterprise.zone_id,
                _YES_NO[enterprise.register_confirmed],
            )
        ],
    )
    _write(
        folder / "sites.csv",
        ("site_id", "credit_code", "name_zh", "zone_id"),
        [(site.id, code, site.name_zh, enterprise.zone_id)],
    )
    _write(
        folder / "assets.csv",
        (
            "credit_code",
            "asset_number",
            "name_zh",
            "asset_class",
            "control",
            "in_scope",
            "scope_reason",
            "site_id",
            "manufacturer",
            "model",
            "serial",
        ),
        [
            (
                code,
                a.number,
                a.name_zh,
                a.asset_class,
                a.control,
                _YES_NO[a.in_scope],
                a.scope_reason,
                site.id,
                a.manufacturer,
                a.model,
                a.serial,
            )
            for a in scenario.assets
        ],
    )
    _write(
        folder / "meters.csv",
        ("credit_code", "meter_number", "name_zh", "carrier", "meter_role", "parent", "site_id"),
        [(code, m.number, m.name_zh, m.carrier, m.role, m.parent or "", site.id) for m in scenario.meters],
    )
    _write(folder / "gateways.csv", ("gateway", "site_id"), [(scenario.gateway, site.id)])
    _write(
        folder / "bindings.csv",
        ("gateway", "device", "credit_code", "kind", "number", "role", "valid_from"),
        [
            (scenario.gateway, device, code, kind, number, role, bound_from.isoformat())
            for device, kind, number, role in bindings(scenario)
        ],
    )
    _write(
        folder / "reports.csv",
        ("credit_code", "month", "value_added_wan", "output_wan"),
        [(code, report_month, scenario.monthly_report.value_added_wan, scenario.monthly_report.output_wan)],
    )


def bindings(scenario: Scenario) -> list[tuple[str, str, str, str]]:
    """Rows of (gateway device, asset or meter, its number, role): which device speaks for what."""
    rows: list[tuple[str, str, str, str]] = []
    for asset in scenario.assets:
        if asset.shown_by is not None:
            machine = scenario.machine(asset.shown_by)
            rows.append((machine.device, "asset", asset.number, "state"))
            if machine.counts:
                rows.append((machine.device, "asset", asset.number, "quantity"))
    shown = [(m, m.shown_by) for m in scenario.meters if m.shown_by is not None]
    return rows + [(scenario.machine(machine).device, "meter", m.number, "quantity") for m, machine in shown]


def _write(path: Path, heading: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(heading)
        writer.writerows(rows)
