"""Definitions of figures: data files, one per version, that are never edited once they were used."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import yaml
from pydantic import ValidationError
from sqlalchemy import Engine, insert, select

from api.register.database import writing
from api.register.models import DefinitionRow
from api.schemas import Definition

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

    def get(self, name: str) -> Definition:
        """`networking-rate` (the newest) or `networking-rate@1`. Raises KeyError."""
        definition_id, at, version = name.partition("@")
        if not at:
            return self.newest(definition_id)
        if not version.isdigit():
            raise KeyError(name)
        return self._all[definition_id, int(version)]

    def store(self, engine: Engine) -> None:
        """Remember definitions at first use. Raises DefinitionError for a version that was edited since."""
        d = DefinitionRow
        with writing(engine) as connection:
            known = {(i, v): digest for i, v, digest in connection.execute(select(d.id, d.version, d.digest))}
            for (definition_id, version), definition in self._all.items():
                content = definition.model_dump_json()
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
