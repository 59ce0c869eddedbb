"""`plantpulse-sim`: machines to test against, one by one or as a whole plant."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulators.broker import BrokerError, Mosquitto
from simulators.gateway_file import write_gateway_file
from simulators.history import history_span
from simulators.ledger import Ledger
from simulators.orders import obey_lines
from simulators.physics import Machine, Pattern, PlantMeter
from simulators.plant import SimulatedPlant, write_endpoints
from simulators.register_folder import write_register
from simulators.scenario import DEFAULT, ScenarioError, load

if TYPE_CHECKING:
    from simulators.opcua_security import Security

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="模拟机器、仪表和整个工厂 / simulated machines, meters and a whole plant, on 127.0.0.1.",
)

PortOption = Annotated[int, typer.Option(help="端口，0 自动选择 / port, 0 chooses a free one")]
SeedOption = Annotated[int, typer.Option(help="随机种子 / seed")]
HostOption = Annotated[
    str, typer.Option(help="已有的 MQTT 服务器 / host of a broker; empty: one of our own is started")
]
CountOption = Annotated[int, typer.Option(min=1, max=50, help="几台 / how many")]
RhythmOption = Annotated[
    Pattern,
    typer.Option(
        help="作息：always 全天、状态变化快；two-shifts 两班制、夜间关机、周日停"
        " / always: every hour, quick changes; two-shifts: breaks, off at night and on Sundays"
    ),
]
SecurityOption = Annotated[
    list[str] | None,
    typer.Option(
        help="OPC UA 安全策略，可重复：None、Basic256Sha256、Aes128Sha256RsaOaep、Aes256Sha256RsaPss、all"
        " / security policies offered, repeatable; None alone by default"
    ),
]
UserOption = Annotated[str, typer.Option(help="只准这个用户登录 / only this user logs in, by password")]
PasswordFileOption = Annotated[
    Path | None, typer.Option(help="该用户的密码文件 / file with that user's password", exists=True)
]
TrustedClientsOption = Annotated[
    Path | None,
    typer.Option(
        help="只接受此文件夹中的客户端证书（.der） / folder of trusted client certificates; none: everybody's",
        file_okay=False,
    ),
]
CertificateFolderOption = Annotated[
    Path | None,
    typer.Option(help="服务器证书保存处 / where the server's certificate is kept; none: a new one each time"),
]


@app.command()
def plant(
    scenario: Annotated[str, typer.Option(help="内置名称或文件 / name of a built-in one, or a file")] = DEFAULT,
    folder: Annotated[Path, typer.Option(help="工作目录 / where the broker and endpoints.json live")] = Path(
        "var/plant"
    ),
    write_config: Annotated[
        Path | None, typer.Option(help="写出网关配置 / write the gateway's plant.yaml here")
    ] = None,
    write_register_to: Annotated[
        Path | None, typer.Option(help="写出台账 / write the register's CSV folder here")
    ] = None,
    uplink_url: Annotated[str, typer.Option(help="县级服务地址 / the county's URL")] = "http://127.0.0.1:8600",
    credential_file: Annotated[Path, typer.Option(help="网关凭据文件 / the gateway's credential")] = Path(
        "var/plant/credential"
    ),
    ledger: Annotated[Path | None, typer.Option(help="停止时写出账本 / write the ledger here on stop")] = None,
) -> None:
    """整个工厂 / every machine of a scenario. Orders on standard input: unplug ID, plug ID, hold, release, served."""
    try:
        plan = load(scenario)
    except ScenarioError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error

    async def run(stop: asyncio.Event) -> None:
        simulated = SimulatedPlant(plan, folder)
        await simulated.start()
        try:
            endpoints = simulated.endpoints()
            if write_config is not None:
                write_gateway_file(
                    write_config, plan, endpoints["entries"], uplink_url=uplink_url, credential_file=credential_file
                )
            if write_register_to is not None:
                span = history_span(time.time())
                write_register(write_register_to, plan, bound_from=span.first_day, report_month=span.month)
            write_endpoints(simulated, folder / "endpoints.json")
            typer.echo(json.dumps(endpoints, ensure_ascii=False))
            async with _obeying(simulated.obey):
                await stop.wait()
        finally:
            await simulated.stop()
            if ledger is not None:
                simulated.ledger.dump(ledger)

    _run(run)


def _opcua_command(name: str, kind: str, default_port: int, what: str) -> None:
    """A command that serves machines of a kind on one OPC UA server."""

    def command(
        port: PortOption = default_port,
        seed: SeedOption = 1,
        count: CountOption = 1,
        rhythm: RhythmOption = "always",
        security: SecurityOption = None,
        user: UserOption = "",
        password_file: PasswordFileOption = None,
        trusted_clients: TrustedClientsOption = None,
        certificate_folder: CertificateFolderOption = None,
    ) -> None:
        how = _security(security, user, password_file, trusted_clients, certificate_folder)
        machines = [_machine(f"{name}-{i + 1}", kind, seed, rhythm) for i in range(count)]
        _serve_opcua(machines, port, how)

    orders = "标准输入可下命令 / Orders on standard input: silent, drop, unplug ID …"
    app.command(name, help=f"{what} on one OPC UA server. {orders}")(command)


_opcua_command("cnc", "cnc", 4840, "数控机床 / CNC machines")
_opcua_command("robot", "robot", 4841, "机器人 / robots")
_opcua_command("imm", "moulding", 4842, "注塑机 / injection moulding machines (OPC 40077)")


@app.command("load")
def load_server(
    port: PortOption = 4843,
    variables: Annotated[int, typer.Option(min=1, max=10_000, help="变量个数 / how many variables")] = 5_000,
    period_s: Annotated[float, typer.Option(min=0.05, help="变化周期（秒） / s between changes")] = 1.0,
) -> None:
    """压力测试用 OPC UA 服务器 / a plain OPC UA server whose variables all change once a period."""
    from simulators.opcua_load import LoadServer

    server = LoadServer(variables, period_s, port=port)
    _run(lambda stop: _hold_open(server, stop, lambda: f" {variables} variables"))


@app.command()
def meter(
    port: PortOption = 5020,
    seed: SeedOption = 1,
    unit: Annotated[int, typer.Option(min=1, max=247)] = 1,
    registers: Annotated[str, typer.Option("--map", help="寄存器表 / register map")] = "sdm630",
) -> None:
    """电表或水表 / a meter on Modbus TCP."""
    kind = "meter-water" if "water" in registers else "meter-electricity"
    machine = (
        Machine("meter-1", kind, seed=seed, serial="SIM-METER-1")
        if kind == "meter-water"
        else PlantMeter("meter-1", [_machine("cnc-1", "cnc", seed)], seed=seed, serial="SIM-METER-1")
    )
    _serve_modbus(machine, port, unit, registers)


@app.command()
def plc(port: PortOption = 5021, seed: SeedOption = 1, unit: Annotated[int, typer.Option(min=1, max=247)] = 1) -> None:
    """注塑机 PLC / an injection moulding machine's PLC on Modbus TCP."""
    _serve_modbus(_machine("moulding-1", "moulding", seed), port, unit, "moulding-plc")


@app.command()
def mqtt(
    host: HostOption = "",
    port: PortOption = 0,
    topic: Annotated[str, typer.Option(help="主题 / topic")] = "plant/edm-1/status",
    seed: SeedOption = 1,
) -> None:
    """发布 JSON 的机器 / a machine that publishes JSON on MQTT."""

    def make(host: str, port: int) -> Any:
        from simulators.mqtt_machine import JsonMachine

        return JsonMachine(_machine("edm-1", "edm", seed), Ledger(), host=host, port=port, topic=topic)

    _publish(make, host, port, f" topic {topic}")


@app.command()
def sparkplug(
    host: HostOption = "",
    port: PortOption = 0,
    group: Annotated[str, typer.Option(help="组 / group id")] = "demo",
    node: Annotated[str, typer.Option(help="边缘节点 / edge node id")] = "assembly",
    seed: SeedOption = 1,
) -> None:
    """Sparkplug B 边缘节点 / a Sparkplug B edge node with two devices."""

    def make(host: str, port: int) -> Any:
        from simulators.sparkplug_node import SparkplugNode

        machines = [_machine(f"asm-{i}", "assembly", seed) for i in (1, 2)]
        return SparkplugNode(group, node, machines, Ledger(), host=host, port=port)

    _publish(make, host, port, f" group {group} node {node}")


def _machine(machine_id: str, kind: str, seed: int, rhythm: Pattern = "always") -> Machine:
    number = f"SIM-{machine_id.upper()}"
    return Machine(
        machine_id,
        kind,
        seed=seed,
        pattern=rhythm,
        manufacturer="PlantPulse 示例",
        model=f"SIM-{kind}",
        serial=number,
        product_uri=f"urn:example.com:simulator:{number}",
    )


def _security(
    policies: list[str] | None,
    user: str,
    password_file: Path | None,
    trusted_clients: Path | None,
    certificate_folder: Path | None,
) -> Security:
    from simulators.opcua_security import NONE, POLICIES, Security

    if bool(user) != (password_file is not None):
        raise typer.BadParameter("--user 和 --password-file 要同时写 / --user and --password-file go together")
    users = {user: password_file.read_text(encoding="utf-8").strip("\r\n")} if password_file is not None else {}
    try:
        return Security(
            policies=(NONE, *POLICIES) if policies and "all" in policies else tuple(policies or (NONE,)),
            anonymous=not users,
            users=users,
            trusted_clients=trusted_clients,
            folder=certificate_folder,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _serve_opcua(machines: list[Machine], port: int, security: Security) -> None:
    from simulators.opcua_orders import obey
    from simulators.opcua_server import OpcuaMachines

    async def run(stop: asyncio.Event) -> None:
        server = OpcuaMachines(machines, Ledger(), port=port, security=security)
        async with _obeying(lambda line: obey(server, line)):
            await _hold_open(server, stop, lambda: f" {server.fingerprint}".rstrip())

    _run(run)


def _serve_modbus(machine: Machine, port: int, unit: int, registers: str) -> None:
    from simulators.modbus_server import ModbusStation

    try:
        station = ModbusStation({unit: (registers, machine)}, Ledger(), port=port)
    except ValueError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    _run(lambda stop: _hold_open(station, stop, lambda: f" unit {unit}"))


def _publish(make: Callable[[str, int], Any], host: str, port: int, more: str) -> None:
    async def run(stop: asyncio.Event) -> None:
        if host:
            await _hold_open(make(host, port or 1883), stop, lambda: more)
            return
        with tempfile.TemporaryDirectory(prefix="plantpulse-sim-") as folder:
            async with Mosquitto(Path(folder), port) as broker:
                await _hold_open(make(broker.host, broker.port), stop, lambda: more)

    _run(run)


@contextlib.asynccontextmanager
async def _obeying(obey: Callable[[str], Awaitable[dict[str, Any]]]) -> AsyncIterator[None]:
    """Obey orders on standard input meanwhile."""
    orders = asyncio.create_task(obey_lines(obey))
    try:
        yield
    finally:
        orders.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await orders


async def _hold_open(station: Any, stop: asyncio.Event, more: Callable[[], str] = str) -> None:
    """Serve until stopped; tell the address, and what else is known once it is started."""
    await station.start()
    try:
        typer.echo(f"{station.address}{more()}")
        await stop.wait()
    finally:
        await station.stop()


def _run(run: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run until Ctrl-C or SIGTERM. A port that is taken is an error of the call: exit code 2."""

    async def until_stopped() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        await run(stop)

    try:
        asyncio.run(until_stopped())
    except BrokerError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    except OSError as error:
        typer.echo(f"无法监听或写入：{error} / cannot listen or write: {error}", err=True)
        raise typer.Exit(2) from error


def main() -> None:
    """The console command."""
    app()


if __name__ == "__main__":
    main()
