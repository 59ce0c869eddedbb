"""A support archive: collected, scrubbed, looked through once more, and only then written."""

from __future__ import annotations

import asyncio
import io
import json
import os
import tarfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from collectors.strict_yaml import FileError, read
from gateway.bundle import contents
from gateway.bundle.scrubber import Scrubber
from gateway.bundle.secrets import logins_in, secrets_of
from gateway.config import DEFAULT_DATA_DIR
from gateway.doctor.examination import Examination, examine
from gateway.doctor.findings import report_json
from gateway.moving import whereabouts


class BundleError(Exception):
    """The archive was not written; the text says why, in Chinese and English."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """An archive that was written."""

    path: Path
    files: tuple[str, ...]
    removed: int
    """How often something was taken out."""


async def make(
    file: Path,
    *,
    output: Path | None = None,
    status_file: Path | None = None,
    logs: Sequence[Path] = (),
    environment: Mapping[str, str] | None = None,
) -> Bundle:
    """Collect, scrub and write. Raises BundleError, OSError."""
    variables = dict(os.environ if environment is None else environment)
    seen = await examine(file)
    pages = await contents.page_texts(seen)
    files, scrubber = await asyncio.to_thread(_collect, file, seen, status_file, logs, variables, pages)
    for name, content in files.items():
        if scrubber.leaks(content) or scrubber.leaks(name.encode()):
            raise BundleError(
                f"{name} 里仍有一个密码或凭证，没有写出存档。请把这条信息报告给软件维护方。 / "
                f"{name} still holds a secret: the archive was not written. Report this line to the maintainers."
            )
    path = output or Path(_default_name(seen))
    await asyncio.to_thread(_write, path, files)
    return Bundle(path, tuple(files), scrubber.removed)


def _collect(
    file: Path,
    seen: Examination,
    status_file: Path | None,
    logs: Sequence[Path],
    variables: Mapping[str, str],
    pages: Mapping[str, str],
) -> tuple[dict[str, bytes], Scrubber]:
    try:
        tree = read(file).data
    except FileError:
        tree = None
    folder = file.parent.absolute()
    data_dir = whereabouts(_data_dir(tree, folder))
    view = contents.stored(data_dir)
    announced = [said.address for said in view.announcements] if view is not None else []
    scrubber = Scrubber([*secrets_of(tree, folder, data_dir, variables), *logins_in(announced)])
    trees: dict[str, Any] = {
        "manifest.json": contents.manifest(),
        "environment.json": contents.environment(variables),
        "doctor.json": report_json(seen.findings),
    }
    if view is not None:
        trees |= contents.outbox_trees(view)
        if view.set_aside:
            trees["set-aside.json"] = contents.refused_rows(data_dir)
    if (starts := contents.starts(data_dir)) is not None:
        trees["starts.json"] = starts
    if status_file is not None:
        trees["status.json"] = contents.status(status_file)
    written = {**contents.texts(seen, logs), **pages}
    if file.is_file():
        name, text = contents.plant_text(file, scrubber.tree(tree) if tree is not None else None)
        written[name] = text
    files = {name: scrubber.text(text).encode() for name, text in written.items()}
    for name, found in trees.items():
        files[name] = (json.dumps(scrubber.tree(found), ensure_ascii=False, indent=2) + "\n").encode()
    return {scrubber.text(name): files[name] for name in sorted(files)}, scrubber


def _data_dir(tree: Any, folder: Path) -> Path:
    """The data folder, also of a plant's file that has other mistakes."""
    runtime = tree.get("gateway") if isinstance(tree, dict) else None
    named = runtime.get("data_dir") if isinstance(runtime, dict) else None
    return folder / (named if isinstance(named, str) else DEFAULT_DATA_DIR)


def _default_name(seen: Examination) -> str:
    site = f"-{seen.plant.site}" if seen.plant is not None else ""
    return f"plantpulse-bundle{site}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar.gz"


def _write(path: Path, files: Mapping[str, bytes]) -> None:
    """One folder in a tar file that only its owner reads; an older one of that name is replaced."""
    buffer = io.BytesIO()
    top = path.name.removesuffix(".gz").removesuffix(".tar")
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"{top}/{name}")
            entry.size, entry.mode, entry.mtime = len(content), 0o600, int(time.time())
            archive.addfile(entry, io.BytesIO(content))
    part = path.with_name(f".{path.name}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(buffer.getvalue())
    os.replace(part, path)
