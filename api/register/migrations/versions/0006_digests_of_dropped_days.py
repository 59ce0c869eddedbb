"""Digests of batches whose day of the journal in PostgreSQL was dropped.

Of days that were dropped before, none are left: what is sent again of them is called a conflict, and counts once
when it comes under a new epoch.
"""

from __future__ import annotations

from typing import Final

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_STATEMENTS: Final = (
    """create table journal.digest(
         gateway text not null, epoch bigint not null, first bigint not null, day date not null,
         digests bytea not null, primary key (gateway, epoch, first))""",
    "create index ix_digest_day on journal.digest(day)",
)


def upgrade() -> None:
    """Make the table where there is PostgreSQL."""
    if op.get_bind().dialect.name != "postgresql":
        return
    for statement in _STATEMENTS:
        op.execute(statement)
