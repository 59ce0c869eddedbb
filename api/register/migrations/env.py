"""Alembic's entry: migrates the connection that `api.register.database.migrate` hands over."""

from __future__ import annotations

from alembic import context

from api.register.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
