"""The plant's file for a gateway, made of a scenario and of where its machines listen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from simulators.scenario import Scenario


def gateway_entries(scenario: Scenario, addresses: Mapping[str, str]) -> list[dict[str, Any]]:
    """The `devices` of a plant's file. `addresses`: the URL of every entry. Raises KeyError for one that lacks."""
    asset_of = {a.shown_by: a.number for a in scenario.assets if a.shown_by}
    entries: list[dict[str, Any]] = []
    for server in scenario.links.opcua:
        entry: dict[str, Any] = {"id": server.entry, "profile": server.profile, "address": addresses[server.entry]}
        entry["security"] = "none"  # the simulated servers speak nothing else, on loopback
        if len(server.machines) == 1:
            entry |= _proposal(asset_of.get(server.machines[0]))
        entries.append(entry)
    entries.extend(
        {"id": unit.entry, "profile": unit.profile, "address": addresses[unit.entry], "unit": unit.unit}
        | _proposal(asset_of.get(unit.machine))
        for unit in scenario.links.modbus
    )
    entries.extend(
        {"id": topic.entry, "profile": topic.profile, "address": addresses[topic.entry], "topic": topic.topic}
        | _proposal(asset_of.get(topic.machine))
        for topic in scenario.links.mqtt
    )
    entries.extend(
        {
            "id": node.entry,
            "profile": node.profile,
            "address": addresses[node.entry],
            "group": node.group,
            "node": node.node,
        }
        for node in scenario.links.sparkplug
    )
    return entries


def write_gateway_file(
    path: Path,
    scenario: Scenario,
    addresses: Mapping[str, str],
    *,
    uplink_url: str,
    credential_file: Path,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Write the plant's file. `settings` are the keys below `gateway`: window, checkpoint, folders."""
    document: dict[str, Any] = {
        "site": scenario.gateway,
        "uplink": {"url": uplink_url, "credential_file": str(credential_file)},
        **({"gateway": dict(settings)} if settings else {}),
        "devices": gateway_entries(scenario, addresses),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document, allow_unicode=True, sort_keys=False, width=120), encoding="utf-8")


def _proposal(asset: str | None) -> dict[str, str]:
    """The asset that the entry proposes to be bound to, where there is one."""
    return {"asset": asset} if asset else {}
