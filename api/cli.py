"""plantpulse-county: the county service and what its administrator does with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError

from api.clock import SystemClock
from api.settings import Settings, load_settings

app = typer.Typer(
    help="厂脉 PlantPulse 县级服务 / the county service",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
users = typer.Typer(help="门户用户 / users of the portal", no_args_is_help=True)
gateways = typer.Typer(help="网关凭证 / credentials of gateways", no_args_is_help=True)
app.add_typer(users, name="user")
app.add_typer(gateways, name="gateway")


def _settings() -> Settings:
    try:
        return load_settings()
    except ValidationError as error:
        for fault in error.errors():
            name = "PLANTPULSE_" + "_".join(str(part) for part in fault["loc"]).upper()
            typer.echo(f"{name}: {fault['msg']} (值 value: {fault['input']!r})", err=True)
        raise typer.Exit(1) from None


def _fail(text: str) -> NoReturn:
    typer.echo(text, err=True)
    raise typer.Exit(1)


@app.command()
def serve() -> None:
    """运行服务，直到收到停止信号 / run the service until it is told to stop."""
    from api.server import ServeError
    from api.server import serve as run

    try:
        run(_settings())
    except ServeError as error:
        _fail(str(error))


@app.command("import")
def import_register(
    folder: Annotated[Path, typer.Option(help="台账 CSV 文件夹 / folder of the register's CSV files")],
) -> None:
    """导入台账：全部成功，或全部不变 / load the register: all of it or nothing."""
    from api.register.admin import load_register
    from api.register.csv_read import RegisterImportError

    try:
        done = load_register(_settings(), folder, SystemClock().now_ns())
    except RegisterImportError as error:
        for line in error.errors:
            typer.echo(str(line), err=True)
        _fail(f"共 {len(error.errors)} 处错误，台账未改动 / {len(error.errors)} errors, nothing was changed")
    for file in done.new:
        typer.echo(
            f"{file}: 新增 new {done.new[file]}, 变更 changed {done.changed[file]}, "
            f"未变 unchanged {done.unchanged[file]}"
        )


@users.command("add")
def user_add(
    name: Annotated[str, typer.Argument(help="用户名 / user name")],
    role: Annotated[str, typer.Option(help="administrator | statistician | viewer | auditor | township | enterprise")],
    password_file: Annotated[Path, typer.Option(help="密码文件 / file that holds the password")],
    enterprise: Annotated[
        str | None, typer.Option(help="企业统一社会信用代码（企业角色）/ credit code, for the role enterprise")
    ] = None,
) -> None:
    """新增用户，或重设其密码与角色 / add a user, or set password and role anew."""
    from api.register.admin import AdminError, set_user

    try:
        set_user(_settings(), name, role, password_file, enterprise, SystemClock().now_ns())
    except AdminError as error:
        _fail(str(error))
    typer.echo(f"{name}: {role}")


@gateways.command("add")
def gateway_add(
    gateway: Annotated[str, typer.Argument(help="网关编号 / the gateway's id")],
    credential_file: Annotated[
        Path | None, typer.Option(help="写入此文件（权限 600），否则打印 / written here, mode 600; else printed")
    ] = None,
) -> None:
    """签发网关凭证，旧凭证失效 / issue a credential; older ones stop to be valid."""
    from api.register.admin import AdminError, issue_credential

    try:
        credential = issue_credential(_settings(), gateway, credential_file, SystemClock().now_ns())
    except AdminError as error:
        _fail(str(error))
    if credential_file is None:
        typer.echo(credential)
    else:
        typer.echo(f"{gateway}: {credential_file}")


def main() -> None:
    """Entry of the console command."""
    app()


if __name__ == "__main__":
    main()
