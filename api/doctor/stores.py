"""What the service stands on: register and migrations, journal, interval store."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from typing import Final

from sqlalchemy import Engine, select, text
from sqlalchemy.exc import SQLAlchemyError

from api.backup.tables import revision_of
from api.clock import Clock
from api.doctor.finding import Finding, good
from api.journal.port import JournalSize
from api.journal.reading import JournalLook, look_at
from api.register.database import known_revisions
from api.register.models import GatewayCredential
from api.settings import Settings
from api.store.layout import duckdb_path
from api.store.open import open_store
from api.store.port import EmbeddedStore, StoreError, StoreLockedError

SILENT_S: Final = 900
_MANY: Final = 10
_CLOCKS_S: Final = 5.0


def register(engine: Engine) -> Iterator[Finding]:
    """Whether the register answers, at which migration it is, and what its server's clock says."""
    address = engine.url.render_as_string()
    try:
        with engine.connect() as connection:
            revision = revision_of(connection)
            ahead_s = 0.0
            if engine.dialect.name == "postgresql":
                ahead_s = float(connection.execute(text("select extract(epoch from clock_timestamp())")).scalar_one())
                ahead_s -= time.time()
    except SQLAlchemyError as error:
        yield Finding(
            "register",
            "failed",
            f"{address} 无法连接：{_first_line(error)}",
            f"{address} does not answer: {_first_line(error)}",
            "检查数据库是否运行，以及 PLANTPULSE_REGISTER_URL 与 PLANTPULSE_REGISTER_PASSWORD_FILE",
            "see that the database runs, and look at PLANTPULSE_REGISTER_URL and PLANTPULSE_REGISTER_PASSWORD_FILE",
        )
        return
    yield good("register", f"{address} 可用", f"{address} answers")
    yield _migrations(revision)
    if abs(ahead_s) > _CLOCKS_S:
        yield Finding(
            "register_clock",
            "warning",
            f"数据库服务器的时间相差 {ahead_s:+.0f} 秒",
            f"the database server's clock differs by {ahead_s:+.0f} s",
            "两台机器都启用 NTP",
            "synchronise both machines by NTP",
        )


def _migrations(revision: str | None) -> Finding:
    known = known_revisions()
    if revision is None:
        return Finding(
            "migrations",
            "warning",
            "台账尚未建立",
            "the register has no tables yet",
            "运行 plantpulse-county serve",
            "run plantpulse-county serve",
        )
    if revision not in known:
        return Finding(
            "migrations",
            "failed",
            f"台账为 {revision} 版，比本程序新",
            f"the register is at {revision}, which is newer than this program",
            "安装较新的版本；不要用旧版本运行",
            "install the newer version; do not run an older one on it",
        )
    if revision != known[0]:
        return Finding(
            "migrations",
            "warning",
            f"台账为 {revision} 版，本程序为 {known[0]} 版",
            f"the register is at {revision}, this program brings it to {known[0]}",
            "先备份，再重启服务，启动时自动升级",
            "back up, then restart the service, which migrates it",
        )
    return good("migrations", f"台账为最新的 {revision} 版", f"the register is at {revision}, the newest")


def journal(settings: Settings, engine: Engine, clock: Clock) -> tuple[list[Finding], JournalLook | None]:
    """How large and how old the journal is, and when the last batch came."""
    try:
        look = look_at(settings, engine, clock.now_ns() - SILENT_S * 10**9)
    except (OSError, sqlite3.Error, SQLAlchemyError) as error:
        failed = Finding(
            "journal",
            "failed",
            f"接收日志无法读取：{_first_line(error)}",
            f"the journal cannot be read: {_first_line(error)}",
            "检查磁盘；必要时用 plantpulse-county restore 从备份恢复",
            "check the disk; if need be restore a backup with plantpulse-county restore",
        )
        return [failed], None
    size = look.size
    if size.newest_ns is None:
        return [good("journal", "接收日志为空", "the journal is empty")], look
    age_s = (clock.now_ns() - size.newest_ns) / 1e9
    zh, en = _journal_words(size, age_s)
    if age_s > SILENT_S:
        quiet = Finding(
            "journal",
            "warning",
            zh,
            en,
            "检查服务、反向代理与防火墙，再到现场检查网关",
            "look at the service, the reverse proxy and the firewall, then at the gateways on site",
        )
        return [quiet], look
    return [good("journal", zh, en)], look


def _journal_words(size: JournalSize, age_s: float) -> tuple[str, str]:
    megabytes = size.size_bytes / 1e6
    return (
        f"接收日志 {size.days} 天，{megabytes:.0f} MB，最近一批在 {age_s:.0f} 秒前",
        f"{size.days} days of journal, {megabytes:.0f} MB, the last batch came {age_s:.0f} s ago",
    )


def store(settings: Settings) -> Finding:
    """Whether the interval store answers. A DuckDB file that the service owns is the service's to judge."""
    path = duckdb_path(settings.store_address)
    if path is not None and not path.exists():
        return good(
            "store", f"{path} 尚不存在，服务启动时建立或由接收日志重建", f"{path} is made when the service starts"
        )
    try:
        opened = open_store(
            settings.store_address,
            folder=settings.data_dir / "store",
            token_file=settings.store_token_file,
            ca_file=settings.store_ca_file,
        )
    except StoreLockedError:
        return good("store", "明细库由运行中的服务打开", "the interval store is open in the running service")
    except (StoreError, ValueError, OSError) as error:
        return _store_failed(settings, error)
    try:
        applied, rows = opened.applied(), opened.rows()
        notice = opened.notice if isinstance(opened, EmbeddedStore) else ""
    except StoreError as error:
        return _store_failed(settings, error)
    finally:
        opened.close()
    if notice:
        return Finding(
            "store",
            "failed",
            f"明细库可用，但有损坏的文件：{notice}",
            f"the store answers, but files were damaged: {notice}",
            "查看磁盘；缺的记录由接收日志重建，封存文件从备份恢复；核对后删除移开的文件",
            "look at the disk; records are made again from the journal, sealed days come from the backup; "
            "delete what was set aside once all is well",
        )
    return good(
        "store", f"明细库可用：{rows} 条，至第 {applied} 批", f"the store answers: {rows} records up to batch {applied}"
    )


def _store_failed(settings: Settings, error: Exception) -> Finding:
    if duckdb_path(settings.store_address) is not None:
        next_zh, next_en = (
            "检查磁盘与权限；明细库可由接收日志重建",
            "check disk and permissions; it can be made again from the journal",
        )
    else:
        next_zh = "检查 InfluxDB 是否运行，以及 PLANTPULSE_STORE_URL、令牌与 bucket；期间接收照常"
        next_en = (
            "see that InfluxDB runs, and look at PLANTPULSE_STORE_URL, token and bucket; records are taken meanwhile"
        )
    return Finding("store", "failed", f"明细库不可用：{error}", f"the store does not answer: {error}", next_zh, next_en)


def _gateways_unknown(zh: str, en: str, first: str) -> Finding:
    return Finding(
        "gateways",
        "unknown",
        f"{zh}，无法判断",
        en,
        f"先处理上面的 {first}，再运行一次",
        f"see to {first} first, then run this again",
    )


def gateways(engine: Engine, look: JournalLook | None) -> Finding:
    """Which gateways that may send have sent nothing of late."""
    try:
        with engine.connect() as connection:
            allowed = set(
                connection.execute(
                    select(GatewayCredential.gateway).where(GatewayCredential.revoked_ns.is_(None)).distinct()
                ).scalars()
            )
    except SQLAlchemyError:
        return _gateways_unknown("台账不可用", "the register does not answer", "register")
    if look is None:
        return _gateways_unknown("接收日志不可用", "the journal cannot be read", "journal")
    silent = sorted(allowed - look.heard)
    if not allowed:
        return Finding(
            "gateways",
            "warning",
            "尚无网关",
            "there is no gateway yet",
            "plantpulse-county gateway code 网关编号",
            "plantpulse-county gateway code GATEWAY",
        )
    if not silent:
        return good(
            "gateways", f"{len(allowed)} 个网关 15 分钟内都有数据", f"all {len(allowed)} gateways sent within 15 min"
        )
    names = ", ".join(silent[:_MANY]) + (" …" if len(silent) > _MANY else "")
    return Finding(
        "gateways",
        "warning",
        f"{len(allowed)} 个网关中 {len(silent)} 个 15 分钟内没有数据：{names}",
        f"{len(silent)} of {len(allowed)} gateways sent nothing for 15 min: {names}",
        "检查其电源与网络；在现场执行 plantpulse-gateway doctor",
        "check their power and network; run plantpulse-gateway doctor on site",
    )


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
