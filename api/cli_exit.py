"""How every command of plantpulse-county reads its settings and says that it failed."""

from __future__ import annotations

from typing import Any, NoReturn

import typer
from pydantic import ValidationError
from typer.core import TyperGroup

from api.settings import Settings, load_settings


def settings_or_exit() -> Settings:
    try:
        return load_settings()
    except ValidationError as error:
        for fault in error.errors():
            name = "PLANTPULSE_" + "_".join(str(part) for part in fault["loc"]).upper()
            typer.echo(f"{name}: {fault['msg']} (值 value: {fault['input']!r})", err=True)
        raise typer.Exit(1) from None


class Commands(TyperGroup):
    """All commands; a register that is away, damaged or not there is told in words, whoever asked it."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command. Exit code 1 where the register cannot be used."""
        from sqlalchemy.exc import SQLAlchemyError

        from api.register.database import RegisterMissingError

        try:
            return super().invoke(ctx)
        except RegisterMissingError as error:
            fail(str(error))
        except SQLAlchemyError as error:
            said = str(error).splitlines()[0]
            fail(
                f"台账无法使用：{said}。请检查 PLANTPULSE_REGISTER_URL、数据库是否运行、文件是否损坏；"
                "plantpulse-county doctor 会逐项检查 / the register cannot be used: check PLANTPULSE_REGISTER_URL, "
                "that the database runs and that the file is whole; plantpulse-county doctor looks at each"
            )


def check_period(text: str) -> None:
    """Raise typer.BadParameter where an option `--period` names none."""
    from api.problems import ProblemError
    from api.services.periods import read_period

    try:
        read_period(text, 0)
    except ProblemError as error:
        raise typer.BadParameter(f"--{error.detail}") from error


def fail(text: str) -> NoReturn:
    typer.echo(text, err=True)
    raise typer.Exit(1)
