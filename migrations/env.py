"""Alembic environment: runs on the connection that ``pipeline.ledger.schema`` hands over."""

from alembic import context

from pipeline.ledger.tables import metadata


def run_migrations() -> None:
    connection = context.config.attributes["connection"]
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


run_migrations()
