"""Device profiles: what a device model exposes, as YAML files checked by a model of its protocol.

A site's own profile folder is searched before the built-in one, so a site's profile works like a
built-in one. Every profile starts with the same header (`ProfileHeader`); the rest belongs to its
protocol, whose package passes its own model to `load`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

from pydantic import ConfigDict, Field

from collectors.model import DeviceClass
from collectors.strict_yaml import FileError, Located, Problem, StrictModel, check, read

BUILT_IN: Final = Path(__file__).parent
ProfileName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]


class Source(StrictModel):
    """Where the content of a profile was read: a profile without a source is not shipped."""

    document: str
    revision: str = ""
    page: str = ""
    note: str = ""


class Product(StrictModel):
    """A badge the model is sold under."""

    brand: str
    models: Annotated[tuple[str, ...], Field(min_length=1)]


class ProfileHeader(StrictModel):
    """What every profile states, whatever its protocol."""

    profile: ProfileName
    protocol: Literal["modbus", "opcua", "mqtt", "sparkplug"]
    device_class: DeviceClass
    evidence: Literal["self-identified", "native", "retrofit"]
    products: tuple[Product, ...] = ()
    title_zh: str
    title_en: str
    source: Source
    caveats: tuple[str, ...] = ()
    liveness_s: Annotated[float, Field(gt=0, le=3600)]
    """How long one reply or message proves the connection; at most 6 s for what is polled or
    published at 2 s or faster."""


class _AnyProfile(ProfileHeader):
    model_config = ConfigDict(frozen=True, extra="ignore")


Profile = TypeVar("Profile", bound=ProfileHeader)


def load(name: str, model: type[Profile], site_folders: Sequence[Path] = ()) -> Profile:
    """The profile of that name, checked by its protocol's model.

    Raises FileError where there is none, or it does not fit the model.
    """
    return _checked(name, _find(name, site_folders), model)


def load_all(
    protocol: Literal["modbus", "opcua", "mqtt", "sparkplug"], model: type[Profile], site_folders: Sequence[Path] = ()
) -> Iterator[Profile]:
    """Every profile of a protocol, sorted by name, each file read once. Raises FileError for a wrong one."""
    for name in names(site_folders):
        located = _find(name, site_folders)
        if isinstance(located.data, dict) and located.data.get("protocol") == protocol:
            yield _checked(name, located, model)


def _checked(name: str, located: Located, model: type[Profile]) -> Profile:
    profile = check(located, model)
    if profile.profile != name:
        raise FileError(
            [
                Problem(
                    located.file,
                    located.line_of(("profile",)),
                    "profile",
                    profile.profile,
                    f"与文件名不一致，应为 {name}。",
                    f"differs from the file's name; expected {name}.",
                )
            ]
        )
    return profile


def header(name: str, site_folders: Sequence[Path] = ()) -> ProfileHeader:
    """Only the header of a profile: enough to list it and to tell its protocol."""
    return check(_find(name, site_folders), _AnyProfile)


def names(site_folders: Sequence[Path] = ()) -> Iterator[str]:
    """Every profile's name, sorted, a site's own before a built-in one of the same name."""
    found = {path.stem for folder in (*site_folders, BUILT_IN) for path in folder.glob("*.yaml")}
    yield from sorted(found)


def path_of(name: str, site_folders: Sequence[Path] = ()) -> Path | None:
    """The file of a profile; None where there is none."""
    paths = (folder / f"{name}.yaml" for folder in (*site_folders, BUILT_IN))
    return next((path for path in paths if path.is_file()), None)


def unknown_words(name: str, site_folders: Sequence[Path] = ()) -> tuple[str, str]:
    """That there is no profile of a name, and which come near it: in Chinese and in English."""
    known = list(names(site_folders))
    near = difflib.get_close_matches(name, known, n=5, cutoff=0.6)
    zh, en = ("相近的有", "Near it") if near else ("可用", "Known")
    listed = ", ".join(near or known)
    return (
        f"没有这个型号。{zh}：{listed}。全部型号：plantpulse-gateway profiles。",
        f"no such profile. {en}: {listed}. All of them: plantpulse-gateway profiles.",
    )


def _find(name: str, site_folders: Sequence[Path]) -> Located:
    if (path := path_of(name, site_folders)) is not None:
        return read(path)
    zh, en = unknown_words(name, site_folders)
    raise FileError(
        [
            Problem(
                str(BUILT_IN),
                0,
                "profile",
                name,
                zh,
                en,
            )
        ]
    )
