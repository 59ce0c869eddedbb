"""How every command of plantpulse-county reads its settings and says that it failed."""

from __future__ import annotations

from typing import NoReturn

import typer
from pydantic import ValidationError

from api.settings import Settings, load_settings


def settings_or_exit() -> Settings:
    try:
        return load_settings()
    except ValidationError as error:
        for fault in error.errors():
            name = "PLANTPULSE_" + "_".join(str(part) for part in fault["loc"]).upper()
            typer.echo(f"{name}: {fault['msg']} (值 value: {fault['input']!r})", err=True)
        raise typer.Exit(1) from None


def fail(text: str) -> NoReturn:
    typer.echo(text, err=True)
    raise typer.Exit(1)
