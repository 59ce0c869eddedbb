"""What must be remembered over a restart so that a broker keeps our session: our id and our subscriptions."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from collectors.causes import cause_of
from collectors.model import ConfigError

_CLIENT_ID_BYTES: Final = 8


@dataclass(slots=True)
class SessionMemory:
    """The identity of one gateway at one broker, in a small file of the state folder."""

    path: Path
    client_id: str
    topics: list[str] = field(default_factory=list)
    """Filters that the broker's kept session may still hold."""
    dropped: int | None = None
    """The broker's count of dropped messages when it was last read (see `broker_drops`)."""

    @classmethod
    def load(cls, folder: Path, link: str) -> SessionMemory:
        """Read the file for this link; a missing or broken one means a new identity. Nothing is written yet."""
        path = folder / f"mqtt-{hashlib.sha256(link.encode()).hexdigest()[:12]}.json"
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            client_id, topics, dropped = kept["client_id"], kept["topics"], kept.get("dropped")
            if isinstance(client_id, str) and client_id and isinstance(topics, list):
                known = dropped if isinstance(dropped, int) else None
                return cls(path, client_id, [t for t in topics if isinstance(t, str)], known)
        except (OSError, ValueError, KeyError, TypeError):
            pass  # the file never was, or a power cut spoilt it: the broker will have no session for a new id
        return cls(path, new_client_id())

    def store(self, topics: Sequence[str]) -> None:
        """Write the file, whole or not at all. Raises ConfigError where the folder cannot be written."""
        if self.topics == list(topics) and self.path.is_file():
            return
        self.topics = list(topics)
        self._write()

    def store_dropped(self, count: int | None) -> None:
        """Write the broker's count of dropped messages into the file. Raises ConfigError."""
        if self.dropped != count:
            self.dropped = count
            self._write()

    def _write(self) -> None:
        part = self.path.with_suffix(".part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            kept = {"client_id": self.client_id, "topics": self.topics, "dropped": self.dropped}
            text = json.dumps(kept, ensure_ascii=False)
            with part.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, self.path)
        except OSError as error:
            raise ConfigError(
                "mqtt.state-folder",
                f"无法写入 {self.path}（{cause_of(error).zh}）。",
                f"cannot write {self.path} ({cause_of(error).en}).",
                "请检查状态文件夹的权限和剩余空间。",
                "Check the state folder's permissions and free space.",
            ) from error


def new_client_id() -> str:
    """A client id nobody else has."""
    return f"plantpulse-{secrets.token_hex(_CLIENT_ID_BYTES)}"
