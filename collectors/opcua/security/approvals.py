"""Server certificates that a person has approved, by endpoint: one small file in the gateway's data folder."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from collectors.causes import cause_of
from collectors.model import ConfigError, LinkError
from collectors.opcua.config import AN_ENDPOINT, is_endpoint
from collectors.opcua.security.certificates import Certificate
from collectors.opcua.security.own import hand_over, make_folder

_FILE: Final = "approved.json"


class Approval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One approved certificate. Times in ns UTC."""

    fingerprint: str
    subject: str
    valid_from_ns: int
    valid_to_ns: int
    approved_ns: int


class _Approvals(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    servers: dict[str, Approval]


def endpoint_of(address: str) -> str:
    """One spelling for each endpoint: scheme and host in lower case, no slash at the end.

    Raises ConfigError for an address without host or port.
    """
    if not is_endpoint(address):
        raise ConfigError("opcua.address", f"{address}：{AN_ENDPOINT[0]}", f"{address}: {AN_ENDPOINT[1]}")
    parts = urlsplit(address)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}:{parts.port}{parts.path.rstrip('/')}"


class Approvals:
    """The approved certificates in a folder. Each call reads the file: approvals made meanwhile count at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def file(self) -> Path:
        """Where they are kept."""
        return self._folder / _FILE

    def of(self, address: str) -> Approval | None:
        """What was approved for an endpoint. Raises LinkError where the file cannot be used."""
        return self._read().servers.get(endpoint_of(address))

    def listed(self) -> dict[str, Approval]:
        """All approvals, by endpoint. Raises LinkError."""
        return dict(sorted(self._read().servers.items()))

    def approve(self, address: str, certificate: Certificate, now_ns: int) -> None:
        """Remember a certificate for an endpoint, in place of any other. Raises LinkError."""
        with self._changing() as known:
            known.servers[endpoint_of(address)] = Approval(
                certificate.fingerprint,
                certificate.subject,
                certificate.valid_from_ns,
                certificate.valid_to_ns,
                now_ns,
            )

    def forget(self, address: str) -> bool:
        """Forget an endpoint's approval; False where there was none. Raises LinkError."""
        with self._changing() as known:
            return known.servers.pop(endpoint_of(address), None) is not None

    def _read(self) -> _Approvals:
        try:
            known = msgspec.json.decode(self.file.read_bytes(), type=_Approvals)
        except FileNotFoundError:
            return _Approvals(1, {})
        except (OSError, msgspec.DecodeError) as error:
            raise self._unusable(error) from error
        if known.version != 1:
            raise self._unusable(ValueError(f"version {known.version}"))
        return known

    @contextmanager
    def _changing(self) -> Iterator[_Approvals]:
        """Read, change, write as one: two commands at once lose nothing."""
        try:
            make_folder(self._folder)
            with _locked(self._folder):
                known = self._read()
                yield known
                self._write(msgspec.json.format(msgspec.json.encode(known)))
        except OSError as error:
            raise self._unusable(error) from error

    def _write(self, content: bytes) -> None:
        handle, name = tempfile.mkstemp(prefix=f"{_FILE}.", dir=self._folder)
        with open(handle, "wb") as file:
            file.write(content)
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o644)
        hand_over(Path(name), self._folder)
        Path(name).replace(self.file)

    def _unusable(self, error: Exception) -> LinkError:
        return LinkError(
            "opcua.approvals-unusable",
            f"无法使用已认可证书的文件 {self.file}（{cause_of(error).zh}）。",
            f"the file of approved certificates {self.file} cannot be used ({cause_of(error).en}).",
            "请检查它的属主和权限；若已损坏，移走它，再用 plantpulse-gateway trust 逐台认可。",
            "Check its owner and permissions; if it is damaged, move it away and approve each server again with"
            " plantpulse-gateway trust.",
        )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
