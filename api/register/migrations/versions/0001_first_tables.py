"""The register's first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table."""
    op.create_table(
        "announcement",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.String(length=20), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("device", sa.String(length=200), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("arrived_ns", sa.BigInteger(), nullable=False),
        sa.Column("evidence", sa.String(length=16), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("gateway", "epoch", "number", name=op.f("pk_announcement")),
    )
    with op.batch_alter_table("announcement", schema=None) as batch_op:
        batch_op.create_index("ix_announcement_device", ["gateway", "device", "at_ns"], unique=False)

    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at_ns", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_table(
        "counter",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_counter")),
    )
    op.create_table(
        "definition",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", "version", name=op.f("pk_definition")),
    )
    op.create_table(
        "device_day",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("computed_ns", sa.BigInteger(), nullable=False),
        sa.Column("devices", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("gateway", "day", name=op.f("pk_device_day")),
    )
    with op.batch_alter_table("device_day", schema=None) as batch_op:
        batch_op.create_index("ix_device_day_day", ["day"], unique=False)

    op.create_table(
        "dirty_day",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("gateway", "day", name=op.f("pk_dirty_day")),
    )
    op.create_table(
        "enterprise",
        sa.Column("credit_code", sa.String(length=18), nullable=False),
        sa.Column("name_zh", sa.Text(), nullable=False),
        sa.Column("industry_id", sa.String(length=64), nullable=True),
        sa.Column("zone_id", sa.String(length=64), nullable=True),
        sa.Column("register_confirmed", sa.Boolean(), nullable=False),
        sa.Column("row_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("recorded_from_ns", sa.BigInteger(), nullable=False),
        sa.Column("recorded_to_ns", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("row_id", name=op.f("pk_enterprise")),
    )
    with op.batch_alter_table("enterprise", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_enterprise_credit_code"), ["credit_code"], unique=False)

    op.create_table(
        "gateway",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("row_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("recorded_from_ns", sa.BigInteger(), nullable=False),
        sa.Column("recorded_to_ns", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("row_id", name=op.f("pk_gateway")),
    )
    with op.batch_alter_table("gateway", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_gateway_gateway"), ["gateway"], unique=False)

    op.create_table(
        "gateway_credential",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("issued_ns", sa.BigInteger(), nullable=False),
        sa.Column("revoked_ns", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_gateway_credential")),
    )
    with op.batch_alter_table("gateway_credential", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_gateway_credential_gateway"), ["gateway"], unique=False)

    op.create_table(
        "industry",
        sa.Column("plan_id", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name_zh", sa.Text(), nullable=False),
        sa.Column("name_en", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("plan_id", "id", name=op.f("pk_industry")),
    )
    op.create_table(
        "plan",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("loaded_ns", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plan")),
    )
    op.create_table(
        "register_object",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("credit_code", sa.String(length=18), nullable=False),
        sa.Column("number", sa.String(length=64), nullable=False),
        sa.CheckConstraint("kind in ('asset', 'meter')", name=op.f("ck_register_object_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_register_object")),
    )
    with op.batch_alter_table("register_object", schema=None) as batch_op:
        batch_op.create_index("uq_register_object_key", ["credit_code", "kind", "number"], unique=True)

    op.create_table(
        "report",
        sa.Column("credit_code", sa.String(length=18), nullable=False),
        sa.Column("month", sa.String(length=7), nullable=False),
        sa.Column("value_added_wan", sa.Double(), nullable=True),
        sa.Column("output_wan", sa.Double(), nullable=True),
        sa.Column("row_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("recorded_from_ns", sa.BigInteger(), nullable=False),
        sa.Column("recorded_to_ns", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("row_id", name=op.f("pk_report")),
    )
    with op.batch_alter_table("report", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_report_credit_code"), ["credit_code"], unique=False)

    op.create_table(
        "site",
        sa.Column("site_id", sa.String(length=64), nullable=False),
        sa.Column("credit_code", sa.String(length=18), nullable=False),
        sa.Column("name_zh", sa.Text(), nullable=False),
        sa.Column("zone_id", sa.String(length=64), nullable=True),
        sa.Column("row_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("recorded_from_ns", sa.BigInteger(), nullable=False),
        sa.Column("recorded_to_ns", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("row_id", name=op.f("pk_site")),
    )
    with op.batch_alter_table("site", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_site_credit_code"), ["credit_code"], unique=False)
        batch_op.create_index(batch_op.f("ix_site_site_id"), ["site_id"], unique=False)

    op.create_table(
        "user_account",
        sa.Column("username", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("credit_code", sa.String(length=18), nullable=True),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("locked_until_ns", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "role in ('administrator', 'statistician', 'viewer', 'auditor', 'township', 'enterprise')",
            name=op.f("ck_user_account_role"),
        ),
        sa.PrimaryKeyConstraint("username", name=op.f("pk_user_account")),
    )
    op.create_table(
        "zone",
        sa.Column("plan_id", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("level", sa.String(length=16), nullable=False),
        sa.Column("parent_id", sa.String(length=64), nullable=True),
        sa.Column("name_zh", sa.Text(), nullable=False),
        sa.Column("name_en", sa.Text(), nullable=False),
        sa.CheckConstraint("level in ('zone', 'area')", name=op.f("ck_zone_level")),
        sa.PrimaryKeyConstraint("plan_id", "id", name=op.f("pk_zone")),
    )
    op.create_table(
        "asset",
        sa.Column("object_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name_zh", sa.Text(), nullable=False),
        sa.Column("asset_class", sa.String(length=64), nullable=False),
        sa.Column("control", sa.String(length=8), nullable=False),
        sa.Column("in_scope", sa.Boolean(), nullable=False),
        sa.Column("scope_reason", sa.Text(), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=True),
        sa.Column("manufacturer", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("serial", sa.Text(), nullable=False),
        sa.Column("row_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("recorded_from_ns", sa.BigInteger(), nullable=False),
        sa.Column("recorded_to_ns", sa.BigInteger(), nullable=True),
        sa.Column("valid_from_day", sa.Integer(), nullable=False),
        sa.Column("valid_to_day", sa.Integer(), nullable=True),
        sa.CheckConstraint("control in ('cnc', 'plc', 'robot', 'manual', 'none')", name=op.f("ck_asset_control")),
        sa.ForeignKeyConstraint(["object_id"], ["register_object.id"], name=op.f("fk_asset_object_id_register_object")),
        sa.PrimaryKeyConstraint("row_id", name=op.f("pk_asset")),
    )
    with op.batch_alter_table("asset", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_asset_object_id"), ["object_id"], unique=False)

    op.create_table(
        "binding",
        sa.Column("object_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("device", sa.String(length=200), nullable=False),
        sa.Column("role", sa.String(length=8), nullable=False),
        sa.Column("row_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("recorded_from_ns", sa.BigInteger(), nullable=False),
        sa.Column("recorded_to_ns", sa.BigInteger(), nullable=True),
        sa.Column("valid_from_day", sa.Integer(), nullable=False),
        sa.Column("valid_to_day", sa.Integer(), nullable=True),
        sa.CheckConstraint("role in ('state', 'quantity')", name=op.f("ck_binding_role")),
        sa.ForeignKeyConstraint(
            ["object_id"], ["register_object.id"], name=op.f("fk_binding_object_id_register_object")
        ),
        sa.PrimaryKeyConstraint("row_id", name=op.f("pk_binding")),
    )
    with op.batch_alter_table("binding", schema=None) as batch_op:
        batch_op.create_index("ix_binding_device", ["gateway", "device"], unique=False)
        batch_op.create_index(batch_op.f("ix_binding_object_id"), ["object_id"], unique=False)

    op.create_table(
        "meter",
        sa.Column("object_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("parent_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("name_zh", sa.Text(), nullable=False),
        sa.Column("carrier", sa.String(length=32), nullable=False),
        sa.Column("unit", sa.String(length=16), nullable=False),
        sa.Column("meter_role", sa.String(length=16), nullable=False),
        sa.Column("site_id", sa.String(length=64), nullable=True),
        sa.Column("manufacturer", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("serial", sa.Text(), nullable=False),
        sa.Column("row_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("recorded_from_ns", sa.BigInteger(), nullable=False),
        sa.Column("recorded_to_ns", sa.BigInteger(), nullable=True),
        sa.Column("valid_from_day", sa.Integer(), nullable=False),
        sa.Column("valid_to_day", sa.Integer(), nullable=True),
        sa.CheckConstraint("meter_role in ('import', 'export', 'generation', 'sub')", name=op.f("ck_meter_meter_role")),
        sa.ForeignKeyConstraint(["object_id"], ["register_object.id"], name=op.f("fk_meter_object_id_register_object")),
        sa.ForeignKeyConstraint(["parent_id"], ["register_object.id"], name=op.f("fk_meter_parent_id_register_object")),
        sa.PrimaryKeyConstraint("row_id", name=op.f("pk_meter")),
    )
    with op.batch_alter_table("meter", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_meter_object_id"), ["object_id"], unique=False)

    op.create_table(
        "session",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("username", sa.String(length=64), nullable=False),
        sa.Column("expires_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["username"], ["user_account.username"], name=op.f("fk_session_username_user_account")),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_session")),
    )
    with op.batch_alter_table("session", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_session_username"), ["username"], unique=False)
