"""`plantpulse-gateway`: run a gateway, and the tools for the person at the cabinet.

Exit code 0 when what was asked is true, 1 when not, 2 for a wrong call. Nothing heavy is imported
before a command needs it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from gateway.bundle import cli as archive
from gateway.doctor import cli as examination
from gateway.enrolment import cli as enrolment
from gateway.refusals.cli import set_aside
from gateway.terminal import address_of, await_or_fail, fail, print_json, tell, tell_wait
from gateway.trusting import DataDirOption, OptionalConfigOption, data_dir_of, trust

if TYPE_CHECKING:
    from collectors.entries import DeviceEntry
    from collectors.findings import Found, ToolReading
    from gateway.applied import Applied
    from gateway.config import PlantConfig

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="厂脉网关：读取设备，按分钟记录，上报县级服务。/ PlantPulse gateway: reads machines, reports by the minute.",
)

T = TypeVar("T")
ConfigOption = Annotated[Path, typer.Option("--config", help="工厂文件 / the plant's file (YAML)")]
JsonOption = Annotated[bool, typer.Option("--json", help="以 JSON 输出 / print JSON")]
AddressArgument = Annotated[str, typer.Argument(help="设备地址 / address, such as modbus-tcp://10.0.4.7:502")]
UsernameOption = Annotated[str, typer.Option(help="用户名 / user name")]
PasswordFileOption = Annotated[Path | None, typer.Option(help="密码文件 / file with the password", exists=True)]
CaFileOption = Annotated[Path | None, typer.Option(help="CA 证书文件 / CA certificate", exists=True)]
CertFileOption = Annotated[
    Path | None, typer.Option(help="登录用的用户证书 / certificate of the user who logs in", exists=True)
]
KeyFileOption = Annotated[Path | None, typer.Option(help="它的私钥 / its private key", exists=True)]
FolderOption = Annotated[
    list[Path] | None, typer.Option("--profile-folder", help="本地型号文件夹 / folder of the site's own profiles")
]


def main() -> None:
    """Entry point of the console command."""
    app()


def _load(config: Path, as_json: bool = False) -> PlantConfig:
    from collectors.strict_yaml import FileError
    from gateway.config import load

    try:
        return load(config)
    except FileError as error:
        fail(error, as_json)


@app.command()
def run(
    config: ConfigOption,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="首个样本后运行多少秒 / stop this long after the first sample, s")
    ] = None,
    close_short_on_stop: Annotated[
        bool, typer.Option(help="停止时立即结束并发送当前窗口 / on stop close open windows and deliver them")
    ] = False,
    status_file: Annotated[
        Path | None, typer.Option(help="每 2 秒写一次运行摘要 / write a summary here every 2 s")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="日志每行一个 JSON，写到标准输出 / the log on stdout, a JSON object a line")
    ] = False,
) -> None:
    """运行网关 / Run the gateway until it is stopped."""
    import asyncio

    from collectors.model import CollectorError
    from collectors.strict_yaml import FileError
    from gateway.config import load
    from gateway.logs import set_up
    from gateway.outbox import OutboxError
    from gateway.runner import Options
    from gateway.runner import run as run_gateway

    try:
        plant = load(config)
    except FileError as error:
        fail(error, as_json, in_a_line=True)
    set_up(as_json=as_json)
    options = Options(seconds=seconds, close_short=close_short_on_stop, status_file=status_file)
    try:
        code = asyncio.run(run_gateway(plant, options))
    except (FileError, CollectorError, OutboxError, OSError) as error:
        fail(error, as_json, in_a_line=True)
    raise typer.Exit(code)


@app.command()
def check(
    config: ConfigOption,
    diff: Annotated[
        bool, typer.Option(help="与正在运行的配置比较 / compare with what the gateway runs, or ran last")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """检查工厂文件，不连接任何设备 / Check the plant's file; connects to nothing."""
    from collectors.model import CollectorError
    from collectors.strict_yaml import FileError
    from gateway import applied
    from gateway.clock import TimeLine
    from gateway.links import make_links

    plant = _load(config, as_json)
    try:
        links = make_links(plant, TimeLine())
    except (FileError, CollectorError) as error:
        fail(error, as_json)
    described = applied.describe(plant, 0)
    running = _running(plant.gateway.data_dir) if diff else None
    found = applied.differences(running, described) if running is not None else None
    if as_json:
        print_json(
            {
                "ok": True,
                "site": plant.site,
                "digest": applied.digest(described),
                "devices": [
                    {"id": e.id, "protocol": protocol, "profile": e.profile, "address": e.address}
                    for protocol, entries in plant.entries.items()
                    for e in entries
                ],
                "links": [link.collector.link for link in links],
                **({"diff": None if found is None else found.as_json()} if diff else {}),
            }
        )
        return
    count = len(plant.entry_ids)
    print(f"{config}: 没有问题，{count} 个设备条目，{len(links)} 条链路，配置指纹 {applied.digest(described)}。")
    print(f"{config}: no problem; {count} device entries, {len(links)} links, digest {applied.digest(described)}.")
    if not diff:
        return
    if found is None:
        print(f"{plant.gateway.data_dir}: 还没有网关用这个数据文件夹运行过，无从比较。")
        print(f"{plant.gateway.data_dir}: no gateway has run with this data folder; there is nothing to compare with.")
    elif not found:
        print("与正在运行的配置相同。/ the same as what the gateway runs.")
    else:
        print("与正在运行的配置相比（+ 新增，- 移除，~ 改动，! 需重启）：")
        print("compared with what the gateway runs (+ new, - gone, ~ changed, ! needs a restart):")
        for line in found.as_text():
            print(f"  {line}")


def _running(data_dir: Path) -> Applied | None:
    """What runs with this data folder, or with the one that is to be moved there."""
    from gateway import applied, moving

    return applied.load(moving.whereabouts(data_dir))


@app.command("page-password")
def page_password(
    file: Annotated[
        Path, typer.Argument(help="写到哪个文件 / the file to write; name it in gateway.page.password_file")
    ],
    as_json: JsonOption = False,
) -> None:
    """设置本地页面的密码 / Set the password of the local page; asks for it twice."""
    from gateway.page import passwords
    from gateway.secret_file import secret_file

    try:
        with secret_file(file) as write:
            password = typer.prompt(
                "密码 / password", hide_input=True, confirmation_prompt="再次输入 / once more", err=as_json
            )
            write(passwords.hashed(password) + "\n")
    except (OSError, passwords.PasswordError) as error:
        fail(error, as_json)
    if as_json:
        print_json({"ok": True, "file": str(file)})
        return
    print(f"{file}: 已写入。/ written.")


@app.command()
def probe(
    config: ConfigOption,
    seconds: Annotated[float, typer.Option(min=0.5, help="最多等待 / wait at most, s")] = 15.0,
    as_json: JsonOption = False,
) -> None:
    """连接每台设备，显示首批读数 / Connect every device and show its first values."""
    from gateway.probe import probe as probe_plant

    plant = _load(config, as_json)
    tell_wait(seconds, as_json)
    results = await_or_fail(probe_plant(plant, seconds), as_json)
    if as_json:
        print_json([r.as_json() for r in results])
    else:
        for result in results:
            print(result.as_text())
    raise typer.Exit(0 if all(r.ok for r in results) else 1)


@app.command()
def scan(
    address: AddressArgument,
    seconds: Annotated[float, typer.Option(min=0.5, max=3600, help="搜索多久 / for how long, s")] = 10.0,
    username: UsernameOption = "",
    password_file: PasswordFileOption = None,
    ca_file: CaFileOption = None,
    cert_file: CertFileOption = None,
    key_file: KeyFileOption = None,
    config: OptionalConfigOption = None,
    data_dir: DataDirOption = None,
    profile_folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """列出地址上应答的设备 / List the devices that answer at an address."""
    from gateway import tools

    folders = tuple(profile_folder or ())
    where = data_dir_of(config, data_dir, as_json)
    access = tools.Access(username, password_file, ca_file, folders, cert_file, key_file, where, tell)
    address_of(address)
    tell_wait(seconds, as_json)
    found: list[Found] = await_or_fail(tools.scan(address, seconds, access), as_json)
    if as_json:
        print_json([tools.found_json(f) for f in found])
    else:
        for f in found:
            unit = f" unit {f.unit}" if f.unit is not None else ""
            identity = " ".join(x for x in (f.identity.manufacturer, f.identity.model, f.identity.serial) if x)
            print(f"{f.address}{unit} {f.name or '-'} {f.device_class} {f.profile or '-'} {identity} {f.evidence}")
        if not found:
            print(
                "没有设备应答。请检查电源、接线和地址；站号大时请加大 --seconds。/ "
                "nothing answered. Check power, wiring and address; for high unit ids give more --seconds."
            )
    raise typer.Exit(0 if found else 1)


@app.command()
def read(
    address: AddressArgument,
    profile: Annotated[str, typer.Option(help="型号 / profile")],
    unit: Annotated[int | None, typer.Option(min=0, max=255, help="Modbus 单元号 / unit id")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="只读这些点 / only these tags")] = None,
    key: Annotated[
        list[str] | None, typer.Option("--set", help="条目的其他键，如 topic=… / further keys of the entry, KEY=VALUE")
    ] = None,
    username: UsernameOption = "",
    password_file: PasswordFileOption = None,
    ca_file: CaFileOption = None,
    cert_file: CertFileOption = None,
    key_file: KeyFileOption = None,
    config: OptionalConfigOption = None,
    data_dir: DataDirOption = None,
    profile_folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """按型号读取一次 / Read a device once by its profile."""
    from gateway import tools

    folders = tuple(profile_folder or ())
    where = data_dir_of(config, data_dir, as_json)
    access = tools.Access(username, password_file, ca_file, folders, cert_file, key_file, where, tell)
    entry = _entry(address_of(address), profile, unit, key or [], access)
    readings: list[ToolReading] = await_or_fail(tools.read_once(entry, tag or [], access), as_json)
    if as_json:
        print_json([tools.reading_json(r) for r in readings])
    else:
        for r in readings:
            value = "-" if r.value is None else r.value
            print(f"{r.tag:32} {value:>16} {r.unit:8} {r.quality.name.lower()}")
    raise typer.Exit(0 if readings and any(r.value is not None for r in readings) else 1)


@app.command()
def browse(
    address: AddressArgument,
    below: Annotated[str, typer.Option(help="从这个路径开始，如 Line1/Press / begin at this path of names")] = "",
    most: Annotated[int, typer.Option(min=1, max=100_000, help="最多显示几个 / show at most")] = 2_000,
    username: UsernameOption = "",
    password_file: PasswordFileOption = None,
    ca_file: CaFileOption = None,
    cert_file: CertFileOption = None,
    key_file: KeyFileOption = None,
    config: OptionalConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """浏览 OPC UA 服务器的节点 / Browse an OPC UA server's nodes."""
    from gateway import tools

    if not address_of(address).startswith("opc.tcp://"):
        raise typer.BadParameter("browse 只用于 opc.tcp:// 地址 / browse is for opc.tcp:// addresses only")
    where = data_dir_of(config, data_dir, as_json)
    access = tools.Access(username, password_file, ca_file, (), cert_file, key_file, where, tell)
    nodes = await_or_fail(tools.browse(address, access, below=below, most=most), as_json)
    if as_json:
        print_json(nodes)
    else:
        for node in nodes:
            print("  ".join(str(value) for value in node.values()))
    raise typer.Exit(0 if nodes else 1)


@app.command()
def profiles(
    words: Annotated[
        list[str] | None, typer.Argument(help="品牌、型号或类别，例如 eastron sdm630 / brand, model or class")
    ] = None,
    profile_folder: FolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """列出或查找型号；没有找到时返回 1 / List profiles, or search them; exit code 1 where none is found."""
    from collectors.profiles.catalogue import search
    from collectors.strict_yaml import FileError

    folders = tuple(profile_folder or ())
    try:
        headers = search(" ".join(words or ()), folders)
    except FileError as error:
        fail(error, as_json)
    listed = [
        {"name": h.profile, "class": h.device_class, "brand": product.brand, "models": list(product.models)}
        for h in headers
        for product in h.products
    ] + [{"name": h.profile, "class": h.device_class, "brand": "", "models": []} for h in headers if not h.products]
    listed.sort(key=lambda p: (str(p["name"]), str(p["brand"])))
    if as_json:
        print_json(listed)
    for p in listed if not as_json else ():
        print(f"{p['name']:32} {p['class']:20} {p['brand']} {', '.join(p['models'])}")
    if not listed:
        if not as_json:
            print("没有符合的型号。不带参数列出全部。/ no profile fits. Without words all are listed.", file=sys.stderr)
        raise typer.Exit(1)


def _entry(address: str, profile: str, unit: int | None, keys: list[str], access: Any) -> DeviceEntry:
    from pydantic import ValidationError

    from collectors.entries import protocol_of
    from gateway.config import entry_model

    raw: dict[str, Any] = {"id": "read", "profile": profile, "address": address, **access.given()}
    if unit is not None:
        raw["unit"] = unit
    for pair in keys:
        name, equals, value = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"--set KEY=VALUE: {pair}")
        raw[name] = value
    model = entry_model(protocol_of(address))
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise typer.BadParameter(str(error)) from error


app.command()(enrolment.enroll)
app.command()(enrolment.rotate)
app.command()(trust)
app.command()(examination.doctor)
app.command()(archive.bundle)
app.command("set-aside")(set_aside)


if __name__ == "__main__":
    main()
