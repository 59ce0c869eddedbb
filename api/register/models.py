"""The register's tables. Everything works on SQLite and PostgreSQL alike.

Two times rule what enterprises, sites, assets, meters, gateways, bindings and reports say: *valid* time (local days on
which a fact holds) and *recorded* time (`recorded_from_ns` to `recorded_to_ns`: when the county believed it; the end is
null while it does). A correction ends a row's recorded time and adds another: nothing is overwritten. What a row is
about has an identity of its own (`register_object.id`) that is never reused.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

Number = BigInteger().with_variant(Integer, "sqlite")
"""A generated key: SQLite counts only its own INTEGER up by itself."""


class Base(DeclarativeBase):
    """All tables of the register."""

    metadata = MetaData(naming_convention=NAMING)


class Recorded:
    """When the county believed a row, in ns UTC. `recorded_to_ns` is null while it does."""

    row_id: Mapped[int] = mapped_column(Number, primary_key=True)
    recorded_from_ns: Mapped[int] = mapped_column(BigInteger)
    recorded_to_ns: Mapped[int | None] = mapped_column(BigInteger)


class Valid:
    """Local days (days since 1970-01-01) on which a fact holds: `[valid_from_day, valid_to_day]`, null: no end."""

    valid_from_day: Mapped[int] = mapped_column(Integer)
    valid_to_day: Mapped[int | None] = mapped_column(Integer)


class Industry(Base):
    """An industry of the plan, as its table names it."""

    __tablename__ = "industry"

    plan_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name_zh: Mapped[str] = mapped_column(Text)
    name_en: Mapped[str] = mapped_column(Text)


class Zone(Base):
    """A development zone of the plan, or an area of one."""

    __tablename__ = "zone"

    plan_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    level: Mapped[str] = mapped_column(String(16))
    parent_id: Mapped[str | None] = mapped_column(String(64))
    name_zh: Mapped[str] = mapped_column(Text)
    name_en: Mapped[str] = mapped_column(Text)

    __table_args__ = (CheckConstraint("level in ('zone', 'area')", name="level"),)


class Plan(Base):
    """A development plan that was loaded: the digest of its folder says whether it changed."""

    __tablename__ = "plan"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    loaded_ns: Mapped[int] = mapped_column(BigInteger)
    content: Mapped[str] = mapped_column(Text)
    """The plan as the API shows it, in JSON."""


class DefinitionRow(Base):
    """A definition as it was first used. A version is never edited: its digest must stay the same."""

    __tablename__ = "definition"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    content: Mapped[str] = mapped_column(Text)


class RegisterObject(Base):
    """The identity of an asset or meter: never reused, whatever is said of it later."""

    __tablename__ = "register_object"

    id: Mapped[int] = mapped_column(Number, primary_key=True)
    kind: Mapped[str] = mapped_column(String(8))
    credit_code: Mapped[str] = mapped_column(String(18))
    number: Mapped[str] = mapped_column(String(64))

    __table_args__ = (
        Index("uq_register_object_key", "credit_code", "kind", "number", unique=True),
        CheckConstraint("kind in ('asset', 'meter')", name="kind"),
    )


class Enterprise(Recorded, Base):
    """What the county believes of an enterprise. `industry_id`, `zone_id`: of the plan."""

    __tablename__ = "enterprise"

    credit_code: Mapped[str] = mapped_column(String(18), index=True)
    name_zh: Mapped[str] = mapped_column(Text)
    industry_id: Mapped[str | None] = mapped_column(String(64))
    zone_id: Mapped[str | None] = mapped_column(String(64))
    register_confirmed: Mapped[bool]


class Site(Recorded, Base):
    """A place of an enterprise."""

    __tablename__ = "site"

    site_id: Mapped[str] = mapped_column(String(64), index=True)
    credit_code: Mapped[str] = mapped_column(String(18), index=True)
    name_zh: Mapped[str] = mapped_column(Text)
    zone_id: Mapped[str | None] = mapped_column(String(64))


class Asset(Recorded, Valid, Base):
    """What the county believes of a production machine."""

    __tablename__ = "asset"

    object_id: Mapped[int] = mapped_column(ForeignKey("register_object.id"), index=True)
    name_zh: Mapped[str] = mapped_column(Text)
    asset_class: Mapped[str] = mapped_column(String(64))
    control: Mapped[str] = mapped_column(String(8))
    in_scope: Mapped[bool]
    scope_reason: Mapped[str] = mapped_column(Text)
    site_id: Mapped[str | None] = mapped_column(String(64))
    manufacturer: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(Text)
    serial: Mapped[str] = mapped_column(Text)
    original_value_wan: Mapped[float | None] = mapped_column(Float)
    """原值, 万元; null: not known."""
    declared_networked: Mapped[bool | None]
    """Whether the enterprise says that it is networked; null: nothing is said."""

    __table_args__ = (CheckConstraint("control in ('cnc', 'plc', 'robot', 'manual', 'none')", name="control"),)


class Meter(Recorded, Valid, Base):
    """What the county believes of a meter. `parent_id`: the meter that contains it."""

    __tablename__ = "meter"

    object_id: Mapped[int] = mapped_column(ForeignKey("register_object.id"), index=True)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("register_object.id"))
    name_zh: Mapped[str] = mapped_column(Text)
    carrier: Mapped[str] = mapped_column(String(32))
    unit: Mapped[str] = mapped_column(String(16))
    meter_role: Mapped[str] = mapped_column(String(16))
    site_id: Mapped[str | None] = mapped_column(String(64))
    manufacturer: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(Text)
    serial: Mapped[str] = mapped_column(Text)

    __table_args__ = (CheckConstraint("meter_role in ('import', 'export', 'generation', 'sub')", name="meter_role"),)


class Gateway(Recorded, Base):
    """Where a gateway stands."""

    __tablename__ = "gateway"

    gateway: Mapped[str] = mapped_column(String(64), index=True)
    site_id: Mapped[str] = mapped_column(String(64))


class Binding(Recorded, Valid, Base):
    """From which local day a device speaks for an asset or meter, and in which role."""

    __tablename__ = "binding"

    object_id: Mapped[int] = mapped_column(ForeignKey("register_object.id"), index=True)
    gateway: Mapped[str] = mapped_column(String(64))
    device: Mapped[str] = mapped_column(String(200))
    role: Mapped[str] = mapped_column(String(8))

    __table_args__ = (
        Index("ix_binding_device", "gateway", "device"),
        CheckConstraint("role in ('state', 'quantity')", name="role"),
    )


class Report(Recorded, Base):
    """What an enterprise reported for a month (`2026-10`), in 万元 at current prices."""

    __tablename__ = "report"

    credit_code: Mapped[str] = mapped_column(String(18), index=True)
    month: Mapped[str] = mapped_column(String(7))
    value_added_wan: Mapped[float | None]
    output_wan: Mapped[float | None]


class ScopeGroup(Recorded, Base):
    """A chain (产业链) or park (园区) of the county: scopes beside industries and zones, which may overlap."""

    __tablename__ = "scope_group"

    kind: Mapped[str] = mapped_column(String(8))
    group_id: Mapped[str] = mapped_column(String(64))
    name_zh: Mapped[str] = mapped_column(Text)

    __table_args__ = (CheckConstraint("kind in ('chain', 'park')", name="kind"),)


class Membership(Recorded, Valid, Base):
    """That an enterprise belongs to a chain or park."""

    __tablename__ = "membership"

    credit_code: Mapped[str] = mapped_column(String(18), index=True)
    kind: Mapped[str] = mapped_column(String(8))
    group_id: Mapped[str] = mapped_column(String(64))


class Process(Recorded, Base):
    """A process of an enterprise's list, for the rate of key processes under numerical control."""

    __tablename__ = "process"

    credit_code: Mapped[str] = mapped_column(String(18), index=True)
    process_number: Mapped[str] = mapped_column(String(64))
    name_zh: Mapped[str] = mapped_column(Text)
    key_process: Mapped[bool]
    controlled: Mapped[bool | None]
    """Under NC, DNC, FMC, PLC or DCS control; null: not known."""


class Statistic(Recorded, Base):
    """An official figure of the county for a year, typed in: never computed here, only set beside what is."""

    __tablename__ = "statistic"

    indicator: Mapped[str] = mapped_column(String(64), index=True)
    year: Mapped[int] = mapped_column(Integer)
    value: Mapped[float] = mapped_column(Float)
    source: Mapped[str] = mapped_column(Text)


class GatewayCredential(Base):
    """SHA-256 of a gateway's credential (256 random bits, so one round of a fast hash is enough)."""

    __tablename__ = "gateway_credential"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    gateway: Mapped[str] = mapped_column(String(64), index=True)
    issued_ns: Mapped[int] = mapped_column(BigInteger)
    revoked_ns: Mapped[int | None] = mapped_column(BigInteger)
    first_used_ns: Mapped[int | None] = mapped_column(BigInteger)
    """When the gateway first came with it; then those before it end."""
    hand_over_s: Mapped[int | None] = mapped_column(BigInteger)
    """Other hardware took over: rows that start from here on are not taken under this credential."""
    hardware: Mapped[str] = mapped_column(String(200))
    """What the hardware called itself; empty: it never said."""


class EnrolmentCode(Base):
    """SHA-256 of a one-time code (80 random bits, a few days, limited attempts: one round of a fast hash is enough)."""

    __tablename__ = "enrolment_code"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    gateway: Mapped[str] = mapped_column(String(64), index=True)
    issued_ns: Mapped[int] = mapped_column(BigInteger)
    expires_ns: Mapped[int] = mapped_column(BigInteger)
    used_ns: Mapped[int | None] = mapped_column(BigInteger)
    withdrawn_ns: Mapped[int | None] = mapped_column(BigInteger)


class AnnouncementRow(Base):
    """What a device said of itself, numbered by its gateway's outbox."""

    __tablename__ = "announcement"

    gateway: Mapped[str] = mapped_column(String(64), primary_key=True)
    epoch: Mapped[str] = mapped_column(String(20), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    device: Mapped[str] = mapped_column(String(200))
    at_ns: Mapped[int] = mapped_column(BigInteger)
    arrived_ns: Mapped[int] = mapped_column(BigInteger)
    evidence: Mapped[str] = mapped_column(String(16))
    content: Mapped[bytes] = mapped_column(LargeBinary)
    """The announcement, as MessagePack."""

    __table_args__ = (Index("ix_announcement_device", "gateway", "device", "at_ns"),)


class DeviceDay(Base):
    """The day states of one gateway and local day, as columns, with the digest of their content."""

    __tablename__ = "device_day"

    gateway: Mapped[str] = mapped_column(String(64), primary_key=True)
    day: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    generation: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[str] = mapped_column(String(64))
    computed_ns: Mapped[int] = mapped_column(BigInteger)
    devices: Mapped[str] = mapped_column(Text)
    """Device ids, in JSON."""
    content: Mapped[bytes] = mapped_column(LargeBinary)
    """Day states, zstd over `metrics.days.DayStates.to_bytes`."""
    changed: Mapped[int] = mapped_column(BigInteger, default=0)
    """The counter `device_day` when this was written: readers ask for what is above what they have."""

    __table_args__ = (Index("ix_device_day_day", "day"), Index("ix_device_day_changed", "changed"))


class DeviceDayVersion(Base):
    """Day states that were replaced: what the county knew of a day from `computed_ns` to `superseded_ns`."""

    __tablename__ = "device_day_version"

    row_id: Mapped[int] = mapped_column(Number, primary_key=True)
    gateway: Mapped[str] = mapped_column(String(64))
    day: Mapped[int] = mapped_column(Integer)
    generation: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[str] = mapped_column(String(64))
    computed_ns: Mapped[int] = mapped_column(BigInteger)
    superseded_ns: Mapped[int] = mapped_column(BigInteger)
    devices: Mapped[str] = mapped_column(Text)
    content: Mapped[bytes] = mapped_column(LargeBinary)

    __table_args__ = (
        Index("ix_device_day_version_day", "day", "superseded_ns"),
        Index("ix_device_day_version_superseded_ns", "superseded_ns"),
    )


class DirtyDay(Base):
    """A day that must be rolled up again: `generation` is the journal position that made it so."""

    __tablename__ = "dirty_day"

    gateway: Mapped[str] = mapped_column(String(64), primary_key=True)
    day: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    generation: Mapped[int] = mapped_column(BigInteger)


class Counter(Base):
    """A number that changes count up, so that readers know when to read again: `register`, `device_day`,
    `announcement`."""

    __tablename__ = "counter"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)


class User(Base):
    """A person who may sign in. `password_hash`: argon2id."""

    __tablename__ = "user_account"

    username: Mapped[str] = mapped_column(String(64), primary_key=True)
    role: Mapped[str] = mapped_column(String(16))
    credit_code: Mapped[str | None] = mapped_column(String(18))
    password_hash: Mapped[str] = mapped_column(Text)
    created_ns: Mapped[int] = mapped_column(BigInteger)
    failures: Mapped[int] = mapped_column(Integer, default=0)
    locked_until_ns: Mapped[int] = mapped_column(BigInteger, default=0)

    __table_args__ = (
        CheckConstraint(
            "role in ('administrator', 'statistician', 'viewer', 'auditor', 'township', 'enterprise')", name="role"
        ),
    )


class SessionRow(Base):
    """A session on the server's side; the cookie holds the token whose SHA-256 this is."""

    __tablename__ = "session"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    username: Mapped[str] = mapped_column(ForeignKey("user_account.username"), index=True)
    expires_ns: Mapped[int] = mapped_column(BigInteger)


class Audit(Base):
    """What was done, by whom, appended only. Each row's digest covers the one before it."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(Number, primary_key=True)
    at_ns: Mapped[int] = mapped_column(BigInteger)
    actor: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(Text)
    detail: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(String(64))


class FigureSet(Base):
    """Figures of one period, computed together from what was known at `as_of_ns`. Appended only: a draft until an
    event publishes it."""

    __tablename__ = "figure_set"

    id: Mapped[int] = mapped_column(Number, primary_key=True)
    period_id: Mapped[str] = mapped_column(String(32), index=True)
    as_of_ns: Mapped[int] = mapped_column(BigInteger)
    made_ns: Mapped[int] = mapped_column(BigInteger)
    actor: Mapped[str] = mapped_column(String(64))
    note: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(String(64))
    """SHA-256 over the digests of its figures: the same inputs give the same set."""
    compared_with: Mapped[int | None] = mapped_column(ForeignKey("figure_set.id"))
    """The published set that its changes are told against; null: none was published."""


class FigureValue(Base):
    """One figure of a set, as it was computed."""

    __tablename__ = "figure_value"

    set_id: Mapped[int] = mapped_column(ForeignKey("figure_set.id"), primary_key=True)
    definition_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    scope: Mapped[str] = mapped_column(String(100), primary_key=True)
    definition_version: Mapped[int] = mapped_column(Integer)
    value: Mapped[float | None] = mapped_column(Float)
    digest: Mapped[str] = mapped_column(String(64))
    inputs: Mapped[str] = mapped_column(Text)
    """Digests of its inputs by kind (definition, register, evidence, day states), in JSON."""
    content: Mapped[str] = mapped_column(Text)
    """The figure as the API shows it, in JSON."""
    change: Mapped[str | None] = mapped_column(Text)
    """What changed against `compared_with`, and why, in JSON; null: nothing, or nothing to compare with."""


class FigureEvent(Base):
    """What became of a set: published, or withdrawn again. Appended only."""

    __tablename__ = "figure_event"

    id: Mapped[int] = mapped_column(Number, primary_key=True)
    set_id: Mapped[int] = mapped_column(ForeignKey("figure_set.id"), index=True)
    period_id: Mapped[str] = mapped_column(String(32), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    at_ns: Mapped[int] = mapped_column(BigInteger)
    actor: Mapped[str] = mapped_column(String(64))
    note: Mapped[str] = mapped_column(Text)
    revision: Mapped[int] = mapped_column(Integer)
    """Of the period: 1 for what was published first."""

    __table_args__ = (CheckConstraint("kind in ('published', 'withdrawn')", name="kind"),)


class RecordHold(Base):
    """Days whose minute records must not expire. Appended; released by setting `released_ns` once."""

    __tablename__ = "record_hold"

    id: Mapped[int] = mapped_column(Number, primary_key=True)
    from_day: Mapped[int] = mapped_column(Integer)
    to_day: Mapped[int] = mapped_column(Integer)
    """The last local day, included."""
    credit_code: Mapped[str | None] = mapped_column(String(18))
    """The enterprise that it is about; null: all. Days are kept whole either way."""
    reason: Mapped[str] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(String(64))
    at_ns: Mapped[int] = mapped_column(BigInteger)
    released_ns: Mapped[int | None] = mapped_column(BigInteger)
