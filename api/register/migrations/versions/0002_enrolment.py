"""Enrolment: one-time codes, and what is known of a credential's hardware and use."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table of codes, and the columns; credentials that are there count as used."""
    op.create_table(
        "enrolment_code",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("issued_ns", sa.BigInteger(), nullable=False),
        sa.Column("expires_ns", sa.BigInteger(), nullable=False),
        sa.Column("used_ns", sa.BigInteger(), nullable=True),
        sa.Column("withdrawn_ns", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_enrolment_code")),
    )
    with op.batch_alter_table("enrolment_code", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_enrolment_code_gateway"), ["gateway"], unique=False)
    with op.batch_alter_table("gateway_credential", schema=None) as batch_op:
        batch_op.add_column(sa.Column("first_used_ns", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("hand_over_s", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("hardware", sa.String(length=200), nullable=False, server_default=""))
    op.execute("update gateway_credential set first_used_ns = issued_ns")
    with op.batch_alter_table("gateway_credential", schema=None) as batch_op:
        batch_op.alter_column("hardware", existing_type=sa.String(length=200), server_default=None)
