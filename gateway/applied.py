"""The configuration that the gateway runs: kept in the data folder, compared with what a file says now."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from collectors.profiles import loader
from gateway.config import PlantConfig

FILE_NAME: Final = "applied.json"
HOT_KEYS: Final = frozenset({"gateway.profile_folders"})
"""Keys outside `devices` that take effect without a restart; those of `uplink` do once the county answers there."""
_VERSION: Final = 1


class AppliedDevice(msgspec.Struct, frozen=True):
    """One entry: its keys that are not at their defaults, and the SHA-256 of its profile's file."""

    id: str
    protocol: str
    keys: dict[str, Any]
    profile_digest: str


class Applied(msgspec.Struct, frozen=True):
    """A whole configuration, without secrets: those stay in the files that it names."""

    at_ns: int
    file: str
    site: str
    uplink: dict[str, Any]
    gateway: dict[str, Any]
    devices: list[AppliedDevice]
    outputs: dict[str, dict[str, Any]] = {}
    """Keys of each output that are not at their defaults, by its id."""
    version: int = _VERSION


@dataclass(frozen=True, slots=True)
class Differences:
    """What another configuration changes. Values as (before, after), None where a key is not given."""

    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    changed: dict[str, dict[str, tuple[Any, Any]]] = field(default_factory=dict)
    """By entry; the key `profile content` where only the profile's file is another one."""
    restart: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    """Keys that take effect with the next start."""
    hot: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    """Keys outside `devices` that take effect at once."""

    @property
    def touched(self) -> frozenset[str]:
        """Entries that are new or different."""
        return frozenset([*self.added, *self.changed])

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.restart or self.hot)

    def as_json(self) -> dict[str, Any]:
        """For `check --diff --json`."""

        def pairs(of: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
            return {key: {"before": before, "after": after} for key, (before, after) in of.items()}

        return {
            "added": self.added,
            "removed": self.removed,
            "changed": {entry: pairs(keys) for entry, keys in self.changed.items()},
            "hot": pairs(self.hot),
            "restart": pairs(self.restart),
        }

    def as_text(self) -> Iterator[str]:
        """For people, a line each."""
        for entry in self.added:
            yield f"+ {entry}"
        for entry in self.removed:
            yield f"- {entry}"
        for entry, keys in self.changed.items():
            yield f"~ {entry}"
            yield from (f"    {_shown(key, pair)}" for key, pair in keys.items())
        for key, pair in self.hot.items():
            later = "  （县里应答后生效 / once the county answers there）" if key.startswith("uplink.") else ""
            yield f"~ {_shown(key, pair)}{later}"
        for key, pair in self.restart.items():
            yield f"! {_shown(key, pair)}  （需重启 / needs a restart）"


def _shown(key: str, pair: tuple[Any, Any]) -> str:
    before, after = ("-" if value is None else value for value in pair)
    return f"{key}: {before} → {after}"


def describe(config: PlantConfig, now_ns: int) -> Applied:
    """A configuration as it is kept. Reads the profiles in use; one that cannot be read counts as blank."""
    folders = config.gateway.profile_folders
    digests = {name: _digest(name, folders) for name in {e.profile for es in config.entries.values() for e in es}}
    return Applied(
        now_ns,
        str(config.file),
        config.site,
        config.uplink.model_dump(mode="json"),
        config.gateway.model_dump(mode="json"),
        [
            AppliedDevice(e.id, protocol, e.model_dump(mode="json", exclude_defaults=True), digests[e.profile])
            for protocol, entries in config.entries.items()
            for e in entries
        ],
        {output.id: output.model_dump(mode="json", exclude_defaults=True) for output in config.outputs},
    )


def _digest(profile: str, folders: Sequence[Path]) -> str:
    path = loader.path_of(profile, folders)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() if path is not None else ""
    except OSError:
        return ""


def differences(before: Applied, after: Applied) -> Differences:
    """What `after` changes of `before`."""
    found = Differences()
    old = {device.id: device for device in before.devices}
    new = {device.id: device for device in after.devices}
    found.added.extend(entry for entry in new if entry not in old)
    found.removed.extend(entry for entry in old if entry not in new)
    for entry in new.keys() & old.keys():
        keys = _pairs(old[entry].keys, new[entry].keys)
        if not keys and old[entry].profile_digest != new[entry].profile_digest:
            keys["profile content"] = old[entry].profile_digest[:12] or None, new[entry].profile_digest[:12] or None
        if keys:
            found.changed[entry] = keys
    for part in ("site", "uplink", "gateway"):
        a, b = getattr(before, part), getattr(after, part)
        pairs = _pairs(a, b, f"{part}.") if isinstance(a, dict) else ({part: (a, b)} if a != b else {})
        for key, pair in pairs.items():
            (found.hot if part == "uplink" or key in HOT_KEYS else found.restart)[key] = pair
    for output in dict.fromkeys([*before.outputs, *after.outputs]):
        found.restart.update(
            _pairs(before.outputs.get(output, {}), after.outputs.get(output, {}), f"outputs.{output}.")
        )
    return found


def _pairs(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    return {
        f"{prefix}{key}": (old.get(key), new.get(key))
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key)
    }


def digest(applied: Applied) -> str:
    """Twelve signs that tell one configuration from another: what `check` says of a file, and the page of what runs."""
    encoded = msgspec.json.encode(msgspec.structs.replace(applied, at_ns=0, file=""), order="deterministic")
    return hashlib.sha256(encoded).hexdigest()[:12]


def save(applied: Applied, data_dir: Path) -> None:
    """Replace the kept configuration as a whole. Raises OSError."""
    path = data_dir / FILE_NAME
    partial = path.with_name(path.name + ".part")
    with partial.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(applied), indent=2) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def load(data_dir: Path) -> Applied | None:
    """What the gateway of this data folder runs, or ran last; None where nothing readable was kept."""
    try:
        applied = msgspec.json.decode((data_dir / FILE_NAME).read_bytes(), type=Applied)
    except (OSError, msgspec.DecodeError):
        return None
    return applied if applied.version == _VERSION else None
