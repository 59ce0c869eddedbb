"""The plant's file at enrolment: what it says of the uplink, and a starter where there is none."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from collectors.entries import PROTOCOL_OF_SCHEME
from collectors.strict_yaml import check, read
from gateway.config import DEFAULT_WINDOW_S
from gateway.uplink_config import UplinkConfig
from gateway.wire import KnownDevice

_TEMPLATE: Final = """\
# 工厂文件 / the plant's file. 写好后检查 / when done: plantpulse-gateway check --config {name}
site: {site}
uplink:
{uplink}
# 型号 / profiles: plantpulse-gateway profiles; 总线上有谁 / who is there: plantpulse-gateway scan modbus-tcp://10.0.4.7:502
devices:{devices}
"""
_SPARKPLUG: Final = "spBv1.0/"
_EXAMPLES: Final = """
# 例子，去掉行首的 # 即生效 / examples: without the # in front they count
#  - {id: meter-main, profile: eastron-sdm630, address: "modbus-tcp://10.0.4.7:502", unit: 11}
#  - {id: cnc-3, profile: opcua-machinery, address: "opc.tcp://10.0.4.21:4840"}
#  - {id: edm-1, profile: json-machine, address: "mqtt://10.0.4.9:1883", topic: plant/edm-1/status}"""
_TAKEN_OVER: Final = (
    "  # 取自被接替的网关最后的公告；登录、加密方式（security）、证书、互感器变比等请补上\n"
    "  # as the replaced gateway last announced them; add logins, security, certificates, transformer ratios"
)


def uplink_of(path: Path) -> tuple[str, UplinkConfig, int]:
    """Site, uplink (paths absolute) and window [s] of a plant's file; its devices are not looked at.

    Raises FileError. The credential's file need not be there.
    """
    located = read(path)
    data = located.data if isinstance(located.data, dict) else {}
    uplink = check(located, UplinkConfig, data.get("uplink") or {}, ("uplink",))
    folder = path.parent.absolute()
    absolute = {
        name: folder / value
        for name in ("credential_file", "ca_file", "proxy_credential_file")
        if (value := getattr(uplink, name)) is not None
    }
    runtime = data.get("gateway")
    window_s = runtime.get("window_s", DEFAULT_WINDOW_S) if isinstance(runtime, dict) else DEFAULT_WINDOW_S
    return (
        str(data.get("site", "")),
        uplink.model_copy(update=absolute),
        window_s if isinstance(window_s, int) else DEFAULT_WINDOW_S,
    )


def write_starter(path: Path, site: str, uplink: UplinkConfig, devices: Sequence[KnownDevice]) -> bool:
    """Write a plant's file to fill in; False where there is one: it is never touched. Raises OSError."""
    lines = [f"  url: {_yaml(uplink.url)}"]
    for name in ("credential_file", "ca_file", "proxy", "proxy_credential_file"):
        value = getattr(uplink, name)
        if value:
            lines.append(f"  {name}: {_yaml(_near(value, path.parent) if isinstance(value, Path) else value)}")
    if uplink.plain_http:
        lines.append("  plain_http: true")
    entries = entries_of(devices)
    listed = "".join(f"\n  - {{{', '.join(f'{k}: {_yaml(v)}' for k, v in entry.items())}}}" for entry in entries)
    text = _TEMPLATE.format(
        name=path.name,
        site=_yaml(site),
        uplink="\n".join(lines),
        devices=f"\n{_TAKEN_OVER}{listed}" if entries else _EXAMPLES,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        return False
    return True


def entries_of(devices: Sequence[KnownDevice]) -> list[dict[str, Any]]:
    """Entries of a plant's file for announced devices, one for each entry that they came from."""
    entries: dict[str, dict[str, Any]] = {}
    for device in devices:
        entry_id, _, name = device.id.partition("/")
        entry: dict[str, Any] = {"id": entry_id, "profile": device.profile, **_address(device.address, name)}
        if device.asset and not name:
            entry["asset"] = device.asset
        known = entries.setdefault(entry_id, entry)
        if name and "unit" in entry:  # a meter that counts several things: each is a device
            known["counts"] = [*known.get("counts", []), name]
    return list(entries.values())


def _address(announced: str, name: str) -> dict[str, Any]:
    """The keys of an entry that an announced address stands for: `…?unit=11`, `mqtt://host:port/topic`."""
    parts = urlsplit(announced)
    protocol = PROTOCOL_OF_SCHEME.get(parts.scheme, "")
    if protocol == "modbus":
        query = dict(parse_qsl(parts.query))
        unit = query.pop("unit", "")
        # urlunsplit drops the empty host of modbus-rtu:///dev/…
        address = f"{parts.scheme}://{parts.netloc}{urlunsplit(('', '', parts.path, urlencode(query), ''))}"
        return {"address": address, "unit": int(unit)} if unit.isdecimal() else {"address": address}
    if protocol == "mqtt" and (topic := parts.path.lstrip("/")):
        broker = f"{parts.scheme}://{parts.netloc}"
        if topic.startswith(_SPARKPLUG):
            group, node, *_ = [*topic.removeprefix(_SPARKPLUG).split("/"), ""]
            return {"address": broker, "group": group, "node": node}
        if name:  # one of several that publish alike
            topic = "/".join("+" if level == name else level for level in topic.split("/"))
        return {"address": broker, "topic": topic}
    return {"address": announced}


def _near(path: Path, folder: Path) -> str:
    """A path as it is written into a file of that folder."""
    absolute = folder.absolute()
    return str(path.relative_to(absolute)) if path.is_relative_to(absolute) else str(path)


def _yaml(value: object) -> str:
    """A value in YAML: JSON is a part of it."""
    return json.dumps(value, ensure_ascii=False)
