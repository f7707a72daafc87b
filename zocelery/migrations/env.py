"""What Alembic runs: the migrations, on the connection that `upgrade` has locked."""

from alembic import context

from zocelery.migrations import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
)
context.run_migrations()
