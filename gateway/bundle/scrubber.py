"""Takes secrets out of texts: those that are known, in every likely encoding, and what looks like one."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final
from urllib.parse import quote, quote_plus

REMOVED: Final = "***"
LEAST_LENGTH: Final = 4
"""A shorter secret is taken out where a key names it, not wherever its signs stand: they stand everywhere."""
_BEGINNING: Final = 12
"""A long secret that was cut off is known by this many signs of its beginning."""
_WORDS: Final = (
    r"password|passwd|passphrase|passwort|pwd|secret|token|api[_-]?key|private[_-]?key|credential|密码|口令|密钥"
)
_SECRET_KEY: Final = re.compile(rf"(?:{_WORDS})", re.IGNORECASE)
_NAMES_A_FILE: Final = re.compile(r"(?:_|-)?(?:file|path|dir|directory|folder)$", re.IGNORECASE)
_WORKING_FOLDERS: Final = frozenset({"PWD", "OLDPWD"})
"""Every shell has them; a path of theirs stands in half of all lines."""
_KEY_VALUE: Final = re.compile(
    rf"""(?P<key>["']?(?P<name>[\w.-]*(?:{_WORDS})[\w.-]*)["']?\s*[:=：]\s*)"""
    r"""(?P<value>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s,;&}\]]+)""",
    re.IGNORECASE,
)
_PATTERNS: Final = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), REMOVED),
    (re.compile(r"ppg_[A-Za-z0-9_-]{8,}"), REMOVED),
    (re.compile(r"(?:[0-9A-HJKMNP-TV-Z]{4}-){3}[0-9A-HJKMNP-TV-Z]{4}"), REMOVED),
    (re.compile(r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+"), REMOVED),
    (re.compile(r"(?i)\b(bearer|basic|digest|token)\s+[A-Za-z0-9+/=_.~-]{8,}"), rf"\1 {REMOVED}"),
    (re.compile(r"(?i)((?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?)[^\r\n\"']+"), rf"\1{REMOVED}"),
    (re.compile(r"(?<=://)[^/\s\"'<>]*@"), f"{REMOVED}@"),
    (re.compile(r"([?&](?:p|u|key|sig|signature)=)[^&\s\"']+"), rf"\1{REMOVED}"),
)


def names_a_secret(key: str) -> bool:
    """Whether a key's value is a secret by its name, and not the place of one."""
    return bool(_SECRET_KEY.search(key)) and not _NAMES_A_FILE.search(key) and key not in _WORKING_FOLDERS


class Scrubber:
    """Knows a plant's secrets. What it gives back holds none of them."""

    def __init__(self, secrets: Iterable[str]) -> None:
        known = {s for secret in secrets for s in _parts(secret) if len(s) >= LEAST_LENGTH}
        self._forms = sorted({form for secret in known for form in forms(secret)}, key=len, reverse=True)
        self._cut = sorted({form[:_BEGINNING] for form in self._forms if len(form) > _BEGINNING})
        self.removed = 0
        """How often something was taken out."""

    def text(self, text: str) -> str:
        """A text without secrets."""
        for form in self._forms:  # the longest first; plain search is far quicker than one large expression
            if form in text:
                self.removed += text.count(form)
                text = text.replace(form, REMOVED)
        for beginning in self._cut:
            if beginning in text:
                text, n = re.subn(re.escape(beginning) + r"[^\s\"',;&}\]]*", REMOVED, text)
                self.removed += n
        for pattern, instead in _PATTERNS:
            text, n = pattern.subn(instead, text)
            self.removed += n
        return _KEY_VALUE.sub(self._keyed, text)

    def tree(self, value: Any, key: str = "") -> Any:
        """Lists, dictionaries and single values without secrets, names and values alike."""
        if isinstance(value, dict):
            return {self.text(str(k)): self.tree(v, str(k)) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.tree(v, key) for v in value]
        if names_a_secret(key) and value is not None and not isinstance(value, bool):
            self.removed += 1
            return REMOVED
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and self.leaks(str(value).encode()):
            self.removed += 1
            return REMOVED
        return value

    def leaks(self, data: bytes) -> bool:
        """Whether a known secret stands in bytes, in any of its forms."""
        return any(form.encode() in data for form in self._forms)

    def _keyed(self, found: re.Match[str]) -> str:
        value = found["value"]
        if not names_a_secret(found["name"]) or REMOVED in value:
            return found[0]
        self.removed += 1
        quotes = value[0] if value[0] in "\"'" else ""
        return f"{found['key']}{quotes}{REMOVED}{quotes}"


def _parts(secret: str) -> Iterator[str]:
    """A secret, its lines where it has several (a key in PEM), and the password of `user:password`."""
    secret = secret.strip()
    lines = [line.strip() for line in secret.splitlines()]
    if len(lines) > 1:
        yield from (line for line in lines if not line.startswith("-----"))
    else:
        yield secret
        user, colon, password = secret.partition(":")
        if colon and user and password:
            yield password


def forms(secret: str) -> set[str]:
    """How a secret may be written: raw, in URLs, JSON, Python, HTML, hexadecimal, and inside base64 at any offset."""
    raw = secret.encode()
    escaped = json.dumps(secret)[1:-1]
    found = {
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        escaped,
        json.dumps(escaped)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        html.escape(secret),
        raw.hex(),
        raw.hex().upper(),
    }
    found |= {re.sub(r"%[0-9A-F]{2}", lambda m: m[0].lower(), form) for form in found}
    for offset in range(3):
        # what stands before and behind shares a sign with it: those signs are left out
        coded = base64.b64encode(b"\0" * offset + raw)
        first = -(-offset * 8 // 6)
        last = (offset + len(raw)) * 8 // 6
        inner = coded[first:last].decode()
        if len(inner) >= LEAST_LENGTH:
            found |= {inner, inner.replace("+", "-").replace("/", "_")}
    return {form for form in found if form}
