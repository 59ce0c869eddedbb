"""Day states that were replaced, sets of figures, holds; chains, parks, processes and official statistics."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def _number() -> Any:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _recorded(table: str) -> list[Any]:
    return [
        sa.Column("row_id", _number(), nullable=False),
        sa.Column("recorded_from_ns", sa.BigInteger(), nullable=False),
        sa.Column("recorded_to_ns", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("row_id", name=op.f(f"pk_{table}")),
    ]


def _appended(table: str) -> list[Any]:
    return [sa.Column("id", _number(), nullable=False), sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}"))]


def upgrade() -> None:
    """Add tables and columns."""
    with op.batch_alter_table("asset", schema=None) as batch_op:
        batch_op.add_column(sa.Column("original_value_wan", sa.Float(), nullable=True))
        batch_op.add_column(sa.Column("declared_networked", sa.Boolean(), nullable=True))
    with op.batch_alter_table("device_day", schema=None) as batch_op:
        batch_op.add_column(sa.Column("changed", sa.BigInteger(), nullable=False, server_default="0"))
        batch_op.create_index("ix_device_day_changed", ["changed"], unique=False)
    op.create_table(
        "device_day_version",
        sa.Column("row_id", _number(), nullable=False),
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("computed_ns", sa.BigInteger(), nullable=False),
        sa.Column("superseded_ns", sa.BigInteger(), nullable=False),
        sa.Column("devices", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("row_id", name=op.f("pk_device_day_version")),
    )
    with op.batch_alter_table("device_day_version", schema=None) as batch_op:
        batch_op.create_index("ix_device_day_version_day", ["day", "superseded_ns"], unique=False)
        batch_op.create_index("ix_device_day_version_superseded_ns", ["superseded_ns"], unique=False)
    _register_tables()
    _figure_tables()


def _register_tables() -> None:
    op.create_table(
        "scope_group",
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("group_id", sa.String(length=64), nullable=False),
        sa.Column("name_zh", sa.Text(), nullable=False),
        *_recorded("scope_group"),
        sa.CheckConstraint("kind in ('chain', 'park')", name=op.f("ck_scope_group_kind")),
    )
    op.create_table(
        "membership",
        sa.Column("credit_code", sa.String(length=18), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("group_id", sa.String(length=64), nullable=False),
        sa.Column("valid_from_day", sa.Integer(), nullable=False),
        sa.Column("valid_to_day", sa.Integer(), nullable=True),
        *_recorded("membership"),
    )
    op.create_table(
        "process",
        sa.Column("credit_code", sa.String(length=18), nullable=False),
        sa.Column("process_number", sa.String(length=64), nullable=False),
        sa.Column("name_zh", sa.Text(), nullable=False),
        sa.Column("key_process", sa.Boolean(), nullable=False),
        sa.Column("controlled", sa.Boolean(), nullable=True),
        *_recorded("process"),
    )
    op.create_table(
        "statistic",
        sa.Column("indicator", sa.String(length=64), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        *_recorded("statistic"),
    )
    for table, column in (("membership", "credit_code"), ("process", "credit_code"), ("statistic", "indicator")):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.create_index(batch_op.f(f"ix_{table}_{column}"), [column], unique=False)


def _figure_tables() -> None:
    op.create_table(
        "figure_set",
        *_appended("figure_set"),
        sa.Column("period_id", sa.String(length=32), nullable=False),
        sa.Column("as_of_ns", sa.BigInteger(), nullable=False),
        sa.Column("made_ns", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("compared_with", _number(), nullable=True),
        sa.ForeignKeyConstraint(
            ["compared_with"], ["figure_set.id"], name=op.f("fk_figure_set_compared_with_figure_set")
        ),
    )
    op.create_table(
        "figure_value",
        sa.Column("set_id", _number(), nullable=False),
        sa.Column("definition_id", sa.String(length=64), nullable=False),
        sa.Column("scope", sa.String(length=100), nullable=False),
        sa.Column("definition_version", sa.Integer(), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("inputs", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("change", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("set_id", "definition_id", "scope", name=op.f("pk_figure_value")),
        sa.ForeignKeyConstraint(["set_id"], ["figure_set.id"], name=op.f("fk_figure_value_set_id_figure_set")),
    )
    op.create_table(
        "figure_event",
        *_appended("figure_event"),
        sa.Column("set_id", _number(), nullable=False),
        sa.Column("period_id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["set_id"], ["figure_set.id"], name=op.f("fk_figure_event_set_id_figure_set")),
        sa.CheckConstraint("kind in ('published', 'withdrawn')", name=op.f("ck_figure_event_kind")),
    )
    op.create_table(
        "record_hold",
        *_appended("record_hold"),
        sa.Column("from_day", sa.Integer(), nullable=False),
        sa.Column("to_day", sa.Integer(), nullable=False),
        sa.Column("credit_code", sa.String(length=18), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("released_ns", sa.BigInteger(), nullable=True),
    )
    for table, columns in (("figure_set", ("period_id",)), ("figure_event", ("period_id", "set_id"))):
        with op.batch_alter_table(table, schema=None) as batch_op:
            for column in columns:
                batch_op.create_index(batch_op.f(f"ix_{table}_{column}"), [column], unique=False)
