"""Settings of the county service: `PLANTPULSE_…` in the environment, or in the file that `PLANTPULSE_ENV_FILE` names.

Secrets never stand in the environment: a setting that ends in `_FILE` names a file that holds one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What can be set; every default serves one county on one machine."""

    model_config = SettingsConfigDict(env_prefix="PLANTPULSE_", frozen=True, extra="ignore")

    data_dir: Path = Path("var/county")
    """服务所有数据的文件夹。Folder of everything that the service keeps: journal, interval store, register (SQLite)."""
    store_url: str = ""
    """明细库；不写：数据文件夹里的 DuckDB。
    `duckdb:///path` or `influxdb+http://host:port/bucket?org=…` (or `influxdb+https`); empty: a DuckDB file in the
    data folder."""
    store_token_file: Path | None = None
    """InfluxDB 令牌文件，改动后自动重读。
    File with the token of the InfluxDB that `store_url` names; read again when it has changed."""
    store_ca_file: Path | None = None
    """InfluxDB 用自建 CA 时的 CA 证书。
    Certificates (PEM) of those who may vouch for an InfluxDB over HTTPS; none: the system's."""
    register_url: str = ""
    """台账数据库；不写：数据文件夹里的 SQLite。An SQLAlchemy URL; empty: an SQLite file in the data folder."""
    journal: Literal["files", "postgresql"] = "files"
    """接收日志存在哪里。
    Where received batches are kept: `files` in the data folder, or the `postgresql` of `register_url`, a partition
    a day. With `postgresql` and an InfluxDB several processes may serve one county, each with its own port."""
    register_password_file: Path | None = None
    """台账数据库密码文件。File with the password of the register's database, put into `register_url`."""
    host: str = "127.0.0.1"
    """监听地址；要让别的机器直接访问才改。Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8600
    """监听端口。Port to listen on."""
    today_refresh_s: Annotated[float, Field(gt=0)] = 300.0
    """当天的日指标最多隔这么久重算一次（秒）。Today's day states are computed at most this often."""
    gateway_requests_per_s: Annotated[float, Field(ge=0)] = 100.0
    """一个网关平均每秒最多几次请求，0 不限。
    How many requests a second one gateway may send on average over 10 s; 0: no limit. Beyond it the answer is 429
    with Retry-After."""
    gateway_bytes_per_s: Annotated[float, Field(ge=0)] = 8_000_000.0
    """一个网关平均每秒最多几字节，0 不限。
    How many bytes a second one gateway may send on average over 10 s; 0: no limit."""
    session_hours: Annotated[float, Field(gt=0, le=24 * 31)] = 12.0
    """登录有效多久（小时）。How long a login lasts, h."""
    public_url: str = ""
    """网关和浏览器访问用的地址。
    The portal's address as gateways and browsers reach it, `https://…`: `doctor` looks at its certificate."""
    cookie_secure: bool = False
    """只经 HTTPS 发送登录 cookie。
    Send the session cookie over HTTPS only: set it whenever the portal is served over HTTPS."""
    journal_days: Annotated[int, Field(ge=1)] = 14
    """接收日志保留几天。
    How many days of journal are kept; received ranges are kept for ever, short digests of batches for 400 days."""
    record_days: Annotated[int, Field(ge=31)] = 400
    """分钟记录保留几天。
    How many days of minute records are kept (DuckDB; InfluxDB's bucket has a retention of its own). Day states,
    which figures are made of, are kept for ever."""
    plan: str = "ninghai-14-5"
    """采用哪个规划。The plan whose baselines, industries and zones apply: a folder of `plans_dir`."""
    plans_dir: Path = Path(__file__).parent / "plans"
    """规划所在文件夹。Folder of the plans."""
    web_dir: Path = Path(__file__).parent / "web" / "dist"
    """门户文件所在文件夹。The built portal."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """日志的详细程度。How much is logged."""

    @field_validator("register_password_file", "store_token_file", "store_ca_file", mode="after")
    @classmethod
    def _file_exists(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_file():
            raise ValueError(f"{path} is no file")
        return path

    @property
    def register_address(self) -> str:
        """The register's SQLAlchemy URL, password put in."""
        if not self.register_url:
            return f"sqlite:///{self.data_dir / 'register.sqlite'}"
        if self.register_password_file is None:
            return self.register_url
        from sqlalchemy.engine import make_url

        password = self.register_password_file.read_text(encoding="utf-8").strip()
        return make_url(self.register_url).set(password=password).render_as_string(hide_password=False)

    @property
    def store_address(self) -> str:
        """The interval store's URL."""
        return self.store_url or f"duckdb:///{self.data_dir / 'store' / 'records.duckdb'}"

    @property
    def journal_dir(self) -> Path:
        """Folder of the journal's day files."""
        return self.data_dir / "journal"


def load_settings() -> Settings:
    """Settings from the environment and the environment file. Raises pydantic's ValidationError."""
    return Settings(_env_file=os.environ.get("PLANTPULSE_ENV_FILE"))
