"""The JSON schema of device profiles, from the models that check them: an editor completes and checks a profile.

`python -m collectors.profiles.schema` writes `profile.schema.json` beside this file; a test compares the two. A
profile names it in its first line: `# yaml-language-server: $schema=profile.schema.json`.
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from collectors.profiles.loader import ProfileHeader
from collectors.profiles.vocabulary import VOCABULARY

SCHEMA_FILE: Final = Path(__file__).parent / "profile.schema.json"
_MODELS: Final = (
    ("collectors.modbus.profile", "ModbusProfile"),
    ("collectors.opcua.profile", "OpcuaProfile"),
    ("collectors.mqtt.profile", "JsonProfile"),
    ("collectors.mqtt.profile", "SparkplugProfile"),
)


def schema() -> dict[str, Any]:
    """One schema for all protocols: the key `protocol` decides which part applies."""
    models: list[type[ProfileHeader]] = [getattr(import_module(module), name) for module, name in _MODELS]
    references, definitions = models_json_schema([(model, "validation") for model in models])
    parts = []
    for model in models:
        reference = references[(model, "validation")]
        parts.append({"if": {"properties": {"protocol": {"const": _protocol_of(model)}}}, "then": reference})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "PlantPulse device profile 设备型号文件",
        "description": (
            f"Known tags 词汇表: {', '.join(VOCABULARY)}. A tag of a site's own needs a unit. 自定义点需要写 unit。"
        ),
        "type": "object",
        "required": ["protocol"],
        "properties": {"protocol": {"enum": [_protocol_of(model) for model in models]}},
        "allOf": parts,
        "$defs": definitions["$defs"],
    }


def _protocol_of(model: type[ProfileHeader]) -> str:
    (protocol,) = model.model_fields["protocol"].annotation.__args__  # type: ignore[union-attr]  # a Literal of one
    return str(protocol)


def text() -> str:
    """The file's text."""
    return json.dumps(schema(), ensure_ascii=False, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(text(), encoding="utf-8")
