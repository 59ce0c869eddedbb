"""Sets of figures and their events: rows are added, and never changed or deleted, by anybody."""

from __future__ import annotations

from typing import Final

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TABLES: Final = ("figure_event", "figure_set", "figure_value")
_WORDS: Final = "rows of this table are never changed"


def upgrade() -> None:
    """Add a trigger that refuses."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "create function refuse_change() returns trigger language plpgsql as "
            f"$$ begin raise exception '{_WORDS}: %', tg_table_name; end $$"
        )
        for table in _TABLES:
            op.execute(
                f"create trigger {table}_appended_only before update or delete or truncate on {table} "
                "for each statement execute function refuse_change()"
            )
        return
    for table in _TABLES:
        for what in ("update", "delete"):
            op.execute(
                f"create trigger {table}_no_{what} before {what} on {table} "
                f"begin select raise(abort, '{_WORDS}: {table}'); end"
            )
