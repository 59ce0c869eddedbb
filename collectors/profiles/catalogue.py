"""The catalogue as a list: what `profiles` shows and searches, and what the docs' page is made from."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from collectors.profiles.loader import ProfileHeader, header, names


def search(words: str = "", site_folders: Sequence[Path] = ()) -> list[ProfileHeader]:
    """Profiles in which every word is found, sorted by name; all of them where there is no word.

    Looked at are name, brand, models, class and both titles; case, width, spaces, hyphens, dots and
    underscores do not matter, so "sdm 630", "SDM630" and "eastron-sdm630" find the same. Raises FileError
    where a site's own profile is wrong.
    """
    wanted = [plain for plain in map(_plain, words.split()) if plain]
    together = _plain(words)
    found = []
    for name in names(site_folders):
        one = header(name, site_folders)
        text = _text_of(one)
        if all(word in text for word in wanted) or (together and together in text):
            found.append(one)
    return found


def _text_of(one: ProfileHeader) -> str:
    products = [text for product in one.products for text in (product.brand, *product.models)]
    return "\n".join(map(_plain, (one.profile, one.device_class, one.title_zh, one.title_en, *products)))


def _plain(text: str) -> str:
    """Text as it is compared: one case, one width, without what people leave out."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(c for c in folded if c not in " -_.·/\t\n\r")
