"""The page's token: who can read the data folder may ask the page without its password, as commands here do.

It is made anew with every start of the page, and good until the page ends: one that was caught on the way is soon
worth nothing.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

from gateway.secret_file import secret_file

FILE: Final = "page-token"


def issue(data_dir: Path) -> str:
    """Make a token and keep it in the data folder, for its owner only. Raises OSError."""
    token = secrets.token_urlsafe(32)
    with secret_file(data_dir / FILE) as write:
        write(token + "\n")
    return token


def kept(data_dir: Path) -> str:
    """The token of the page that runs, or ran last; blank where there is none to read."""
    try:
        return (data_dir / FILE).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
