"""What several processes of the service share in PostgreSQL: the journal, a partition a day, and presence.

SQLite has neither: one process owns the files there.
"""

from __future__ import annotations

from typing import Final

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_STATEMENTS: Final = (
    "create schema journal",
    """create table journal.head(
         only_one boolean primary key default true check (only_one), position bigint not null, day date)""",
    "insert into journal.head(position, day) values (0, null)",
    """create table journal.batch(
         day date not null, position bigint not null, gateway text not null, epoch bigint not null,
         sequence bigint not null, previous_epoch bigint, previous_sequence bigint, digest bytea not null,
         is_json boolean not null, rows integer not null, refused bytea not null, held bytea not null,
         arrived_ns bigint not null, newest_end_s bigint not null, body bytea not null,
         counted_day integer[] not null, counted_rows integer[] not null,
         primary key (day, position)) partition by list (day)""",
    "create index ix_batch_position on journal.batch(position)",
    "create index ix_batch_key on journal.batch(gateway, epoch, sequence)",
    "create index ix_batch_arrived on journal.batch using brin (arrived_ns)",
    """create table journal.gap(
         day date not null, position bigint not null, gateway text not null, epoch bigint not null,
         sequence bigint not null, start_s bigint not null, end_s bigint not null, rows integer not null,
         devices text not null, reason text not null) partition by list (day)""",
    "create index ix_gap_key on journal.gap(gateway, epoch, sequence)",
    """create table journal.announce(
         day date not null, gateway text not null, epoch bigint not null, arrived_ns bigint not null,
         is_json boolean not null, body bytea not null) partition by list (day)""",
    """create table journal.received(
         gateway text not null, epoch bigint not null, first bigint not null, last bigint not null,
         primary key (gateway, epoch, first))""",
    """create table journal.floor(
         gateway text not null, epoch bigint not null, sequence bigint not null, primary key (gateway, epoch))""",
    """create table journal.totals(
         gateway text primary key, batches bigint not null, refused_rows bigint not null, held_rows bigint not null,
         conflicts bigint not null, duplicates bigint not null, last_arrived_ns bigint not null)""",
    """create table journal.final(
         only_one boolean primary key default true check (only_one), before_day integer not null,
         position bigint not null)""",
    """create table journal.too_late(
         position bigint not null, gateway text not null, device text not null, day integer not null,
         rows bigint not null, connected bigint not null, quantity bigint not null,
         primary key (position, device, day))""",
    "create schema live",
    "create sequence live.version",
    # volatile by its nature: not logged, empty after a crash, made again within 5 s
    """create unlogged table live.presence(
         gateway text primary key, version bigint not null, sent_ns bigint not null,
         heard_at timestamptz not null, content bytea not null)""",
)


def upgrade() -> None:
    """Make the tables where there is PostgreSQL."""
    if op.get_bind().dialect.name != "postgresql":
        return
    for statement in _STATEMENTS:
        op.execute(statement)
