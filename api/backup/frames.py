"""Rows in a file: MessagePack values, each after its length, compressed, with a digest of the file."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, Self

import msgspec
import zstandard

_LENGTH: Final = struct.Struct("<I")
_MAX_ROW_BYTES: Final = 64 * 1024 * 1024


class BackupError(Exception):
    """What cannot be backed up or restored; the text says why and what to do, in Chinese and English."""


class RowWriter:
    """Writes rows, syncs the file at the end."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = path.open("xb")
        self._stream = zstandard.ZstdCompressor(level=3, write_checksum=True).stream_writer(self._file, closefd=False)
        self._encoder = msgspec.msgpack.Encoder()
        self.rows = 0

    def write(self, row: Any) -> None:
        """Add a row."""
        raw = self._encoder.encode(row)
        self._stream.write(_LENGTH.pack(len(raw)))
        self._stream.write(raw)
        self.rows += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.flush(zstandard.FLUSH_FRAME)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


def read_rows(path: Path, kind: Any = Any) -> Iterator[Any]:
    """The rows of a file. Raises BackupError for a file that is damaged."""
    decoder = msgspec.msgpack.Decoder(kind)
    try:
        with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
            while head := stream.read(_LENGTH.size):
                (length,) = _LENGTH.unpack(head)
                raw = stream.read(length) if length <= _MAX_ROW_BYTES else b""
                if len(raw) != length:
                    raise BackupError(f"{path}: 文件不完整 the file is cut short")
                yield decoder.decode(raw)
    except (OSError, zstandard.ZstdError, struct.error, msgspec.DecodeError) as error:
        raise BackupError(f"{path}: 文件损坏 the file is damaged: {error}") from error


def digest_of(path: Path) -> str:
    """SHA-256 of a file in hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
