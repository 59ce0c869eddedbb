"""Definitions of figures: data files, one per version, that are never edited once they were used."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import yaml
from pydantic import ValidationError
from sqlalchemy import Engine, insert, select

from api.register.database import writing
from api.register.models import DefinitionRow
from api.schemas import Definition

LATER_FIELDS: Final = ("method", "measure", "options", "in_force_from")
FOLDER: Final = Path(__file__).parent.parent / "definitions"


class DefinitionError(ValueError):
    """A definition file that is wrong, or that was edited after it had been used."""


class Definitions:
    """All definitions, every version."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._all: dict[tuple[str, int], Definition] = {}
        for path in sorted(folder.glob("*.yaml")):
            try:
                found = Definition.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
            except (yaml.YAMLError, ValidationError) as error:
                raise DefinitionError(f"{path}: {error}") from error
            if path.stem != f"{found.id}-{found.version}":
                raise DefinitionError(f"{path}: 文件名应为 the file should be named {found.id}-{found.version}.yaml")
            self._all[found.id, found.version] = found

    def all(self) -> list[Definition]:
        """All definitions, by id and version."""
        return [self._all[key] for key in sorted(self._all)]

    def newest(self, definition_id: str) -> Definition:
        """The newest version of a definition. Raises KeyError."""
        versions = [version for found, version in self._all if found == definition_id]
        if not versions:
            raise KeyError(definition_id)
        return self._all[definition_id, max(versions)]

    def in_force(self, definition_id: str, day: int) -> Definition:
        """The version that holds for a period which ends on a local day: the newest in force then.

        Before all of them the oldest. Raises KeyError.
        """
        versions = sorted((v, d) for (found, v), d in self._all.items() if found == definition_id)
        if not versions:
            raise KeyError(definition_id)
        on = datetime.fromtimestamp(day * 86_400, UTC).date()
        held = [d for _, d in versions if d.in_force_from is None or d.in_force_from <= on]
        return held[-1] if held else versions[0][1]

    def get(self, name: str, day: int | None = None) -> Definition:
        """`networking-rate` (in force on a local day; None: the newest) or `networking-rate@1`. Raises KeyError."""
        definition_id, at, version = name.partition("@")
        if not at:
            return self.newest(definition_id) if day is None else self.in_force(definition_id, day)
        if not version.isdigit():
            raise KeyError(name)
        return self._all[definition_id, int(version)]

    def store(self, engine: Engine) -> None:
        """Remember definitions at first use. Raises DefinitionError for a version that was edited since."""
        d = DefinitionRow
        with writing(engine) as connection:
            known = {(i, v): digest for i, v, digest in connection.execute(select(d.id, d.version, d.digest))}
            for (definition_id, version), definition in self._all.items():
                content = _content(definition)
                digest = hashlib.sha256(content.encode()).hexdigest()
                before = known.get((definition_id, version))
                if before is None:
                    connection.execute(
                        insert(d).values(id=definition_id, version=version, digest=digest, content=content)
                    )
                elif before != digest:
                    raise DefinitionError(
                        f"{definition_id}/{version}: 已使用的版本不得修改，请新增版本 "
                        "a version that was used must not be edited: add a new one"
                    )


def _content(definition: Definition) -> str:
    """What a version says, in JSON; fields that came later stand in it only where they say something."""
    fields = Definition.model_fields
    unsaid = {n for n in LATER_FIELDS if getattr(definition, n) == fields[n].get_default(call_default_factory=True)}
    return definition.model_dump_json(exclude=unsaid)
