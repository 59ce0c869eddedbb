"""What each generated part of the documents is made from."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import typer.main

import api.settings
import gateway.config
import gateway.outputs.config
import gateway.page.config
import gateway.uplink_config
from api.register.csv_format import REGISTER_FILES
from collectors.modbus.profile import load_modbus
from collectors.profiles import loader
from metrics.record import RECORD_COLUMNS, Flag

TYPES = {"<u4": "u32", "<i8": "i64", "<u2": "u16", "<u1": "u8"}


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def record_columns() -> str:
    """The columns of the interval record, in wire order."""
    return _table(
        ("column", "type", "unit", "meaning"),
        ((f"`{c.name}`", TYPES[c.dtype], c.unit, c.meaning) for c in RECORD_COLUMNS),
    )


def record_flags() -> str:
    """The bits of the column `flags`."""
    return _table(("bit", "flag"), ((str(int(flag)), flag.name or "") for flag in Flag))


def profiles() -> str:
    """The device catalogue."""
    rows = []
    for name in loader.names():
        p = loader.header(name)
        products = "; ".join(f"{product.brand} {', '.join(product.models)}" for product in p.products)
        source = " ".join(filter(None, (p.source.document, p.source.revision, p.source.page)))
        kind = (p.protocol, p.device_class, p.evidence)
        rows.append((f"`{p.profile}`", p.title_zh, p.title_en, *kind, products, _factory_serial(p), source))
    head = ("profile", "名称", "name", "protocol", "class", "evidence", "products", "serial", "source")
    return _table(head, rows)


def _factory_serial(p: loader.ProfileHeader) -> str:
    """How a model's serial line is set when it is delivered; blank where there is none."""
    if p.protocol != "modbus":
        return ""
    serial = load_modbus(p.profile).serial
    return f"{serial.baudrate} 8{serial.parity}{serial.stop_bits}"


def profile_caveats() -> str:
    """What to watch for, model by model."""
    lines = []
    for name in loader.names():
        p = loader.header(name)
        notes = [*([p.source.note] if p.source.note else []), *p.caveats]
        lines += [f"- `{name}`: {note}" for note in notes]
    return "\n".join(lines)


def _documented(module: ModuleType, class_name: str) -> Iterator[tuple[str, str, str]]:
    """Name, default and attribute docstring of each field of a class, as its source says them."""
    tree = ast.parse(Path(module.__file__ or "").read_text(encoding="utf-8"))
    found = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == class_name)
    for field, after in zip(found.body, [*found.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and field.value is not None:
            said = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
            default = str(getattr(module, class_name).model_fields[field.target.id].default)
            yield (
                field.target.id,
                default.replace(f"{Path(module.__file__ or '').parent}/", ""),
                " ".join(str(said).split()),
            )


def county_settings() -> str:
    """The settings of the county service."""
    rows = (
        (f"`PLANTPULSE_{n.upper()}`", f"`{d}`" if d not in ("", "None") else "", said)
        for n, d, said in _documented(api.settings, "Settings")
    )
    return _table(("设置 setting", "默认 default", "meaning"), rows)


def gateway_settings() -> str:
    """The keys below `gateway` in a plant's file."""
    return _keys(gateway.config, "GatewayConfig")


def page_settings() -> str:
    """The keys below `gateway.page` in a plant's file."""
    return _keys(gateway.page.config, "PageConfig")


def uplink_settings() -> str:
    """The keys below `uplink` in a plant's file that may be left out."""
    return _keys(gateway.uplink_config, "UplinkConfig")


def output_settings() -> str:
    """The keys that every entry below `outputs` may have."""
    return _keys(gateway.outputs.config, "_Output")


def influx_output_settings() -> str:
    """The further keys of an output to InfluxDB that may be left out."""
    return _keys(gateway.outputs.config, "InfluxOutput")


def mqtt_output_settings() -> str:
    """The further keys of an output to a broker that may be left out."""
    return _keys(gateway.outputs.config, "MqttOutput")


def _keys(module: ModuleType, class_name: str) -> str:
    rows = (
        (f"`{n}`", f"`{d}`" if d not in ("", "None") else "", said) for n, d, said in _documented(module, class_name)
    )
    return _table(("键 key", "默认 default", "meaning"), rows)


def register_files() -> str:
    """The columns of the register's CSV files."""
    blocks = []
    for name, columns in REGISTER_FILES.items():
        rows = (
            (f"`{c.name}`", " / ".join(c.choices) or c.kind, "是" if c.required else "", c.meaning) for c in columns
        )
        blocks.append(f"### {name}\n\n" + _table(("列", "内容", "必填", "meaning"), rows) + "\n")
    return "\n".join(blocks)


def _command_help(app: typer.Typer, program: str) -> str:
    blocks: list[str] = []

    # typer brings its own copy of click, so groups are known by what they have, not by their class.
    def walk(command: Any, path: str) -> None:
        for name in sorted(getattr(command, "commands", ())):
            walk(command.commands[name], f"{path} {name}")
        if hasattr(command, "commands"):
            return
        blocks.append(f"### `{path}`\n\n{(command.help or '').strip()}\n")
        rows = [
            (
                f"`{', '.join(p.opts)}`" if p.opts[0].startswith("-") else f"`{p.name.upper()}`",
                getattr(p, "help", "") or "",
            )
            for p in command.params
            if p.name != "help"
        ]
        if rows:
            blocks.append(_table(("参数 argument", "meaning"), rows) + "\n")

    walk(typer.main.get_command(app), program)
    return "\n".join(blocks)


def gateway_commands() -> str:
    """Every command of the gateway."""
    from gateway.cli import app

    return _command_help(app, "plantpulse-gateway")


def county_commands() -> str:
    """Every command of the county service."""
    from api.cli import app

    return _command_help(app, "plantpulse-county")


def sim_commands() -> str:
    """Every command of the simulators."""
    from simulators.cli import app

    return _command_help(app, "plantpulse-sim")


PARTS: dict[str, Callable[[], str]] = {
    "record-columns": record_columns,
    "record-flags": record_flags,
    "profiles": profiles,
    "profile-caveats": profile_caveats,
    "register-files": register_files,
    "county-settings": county_settings,
    "gateway-settings": gateway_settings,
    "page-settings": page_settings,
    "uplink-settings": uplink_settings,
    "output-settings": output_settings,
    "influx-output-settings": influx_output_settings,
    "mqtt-output-settings": mqtt_output_settings,
    "gateway-commands": gateway_commands,
    "county-commands": county_commands,
    "sim-commands": sim_commands,
}
