"""The page's password: kept as a salted scrypt hash, never in the clear.

Parameters as RFC 7914 and OWASP's password storage sheet give them: 16 MiB of memory, a fraction of a second.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from pathlib import Path
from typing import Final

LEAST_CHARACTERS: Final = 10
MOST_CHARACTERS: Final = 200
_N, _R, _P = 2**14, 8, 1
_MOST_N: Final = 2**17
_SALT_BYTES: Final = 16
_HASH_BYTES: Final = 32


class PasswordError(Exception):
    """A password that cannot be set, or a file that holds none; in Chinese and English."""


def hashed(password: str) -> str:
    """One line for a password file. Raises PasswordError for a password that is too short or too long."""
    if not LEAST_CHARACTERS <= len(password) <= MOST_CHARACTERS:
        raise PasswordError(
            f"密码应为 {LEAST_CHARACTERS} 到 {MOST_CHARACTERS} 个字符。 / "
            f"a password has {LEAST_CHARACTERS} to {MOST_CHARACTERS} characters."
        )
    salt = secrets.token_bytes(_SALT_BYTES)
    digest = _scrypt(password, salt, _N, _R, _P)
    return "$".join(("scrypt", str(_N), str(_R), str(_P), _text(salt), _text(digest)))


def read(path: Path) -> str:
    """The hash in a password file. Raises PasswordError where it holds none, OSError."""
    line = path.read_text(encoding="utf-8").strip()
    try:
        _parts(line)
    except ValueError:
        raise PasswordError(
            f"{path} 里不是密码散列。请用 plantpulse-gateway page-password {path} 重新设置。 / "
            f"{path} holds no password hash. Set it anew: plantpulse-gateway page-password {path}."
        ) from None
    return line


def fits(password: str, line: str) -> bool:
    """Whether it is the password of a hash; takes as long for a wrong one as for the right one."""
    n, r, p, salt, digest = _parts(line)
    return hmac.compare_digest(_scrypt(password[:MOST_CHARACTERS], salt, n, r, p), digest)


def _parts(line: str) -> tuple[int, int, int, bytes, bytes]:
    """Raises ValueError."""
    kind, n, r, p, salt, digest = line.split("$")
    if kind != "scrypt" or not 2**14 <= int(n) <= _MOST_N or int(r) != _R or int(p) != _P:
        raise ValueError(kind)
    try:
        return int(n), int(r), int(p), base64.b64decode(salt, validate=True), base64.b64decode(digest, validate=True)
    except binascii.Error as error:
        raise ValueError(line) from error


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(
        password.encode(), salt=salt, n=n, r=r, p=p, dklen=_HASH_BYTES, maxmem=256 * n * r + 1024 * 1024
    )


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
