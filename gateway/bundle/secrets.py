"""Which secrets a plant has: in files that its configuration names, in its data folder, in the environment."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from gateway.bundle.scrubber import names_a_secret
from gateway.page import token

_MAX_BYTES: Final = 65_536
_PUBLIC: Final = ("ca_file", "cert_file", "profile_folders", "data_dir")
_PRIVATE_KEY: Final = "PRIVATE KEY"
_USERINFO: Final = re.compile(r"://([^/\s\"'<>]*)@")
_KEY_FILES: Final = ("*.pem", "*.key", "*.der", "*.p12", "*.pfx")


def secrets_of(tree: Any, folder: Path, data_dir: Path | None, environment: Mapping[str, str]) -> list[str]:
    """All secrets that can be found. `tree`: the plant's file as YAML reads it; `folder`: where it lies."""
    found = [*_in_tree(tree, "", folder), *_in_environment(environment)]
    if data_dir is not None:
        found += [*_private_keys(data_dir), token.kept(data_dir)]
    return [secret for secret in found if secret]


def logins_in(addresses: Iterable[str]) -> list[str]:
    """Users and passwords that stand in addresses, though none should."""
    return [login for address in addresses for login in _userinfo(address)]


def _in_tree(value: Any, key: str, folder: Path) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _in_tree(inner, str(name), folder)
    elif isinstance(value, list):
        for inner in value:
            yield from _in_tree(inner, key, folder)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        text = str(value)
        if names_a_secret(key):
            yield text
        yield from _userinfo(text)
        if isinstance(value, str) and key.endswith("_file"):
            content = _content(folder / value)
            if key not in _PUBLIC or _PRIVATE_KEY in content:
                yield content


def _in_environment(environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in environment.items():
        if names_a_secret(name):
            yield value
        elif name.upper().endswith("_FILE"):
            yield _content(Path(value))
        yield from _userinfo(value)


def _userinfo(text: str) -> Iterator[str]:
    """User and password of every URL in a text, as written and as meant."""
    for written in _USERINFO.findall(text):
        yield from (written, unquote(written))
    try:
        password = urlsplit(text).password
    except ValueError:
        return
    if password:
        yield from (password, unquote(password))


def _private_keys(data_dir: Path) -> Iterator[str]:
    for pattern in _KEY_FILES:
        for path in data_dir.rglob(pattern):
            content = _content(path)
            if _PRIVATE_KEY in content:
                yield content


def _content(path: Path) -> str:
    """The text of a small file; blank for one that cannot be read."""
    try:
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            return ""
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
