"""External programs; what a re-run needs to know."""

import sqlalchemy as sa
from alembic import op

revision = "1_0002"
down_revision = "1_0001"


def upgrade() -> None:
    """Add a table and columns; what is there already is left alone."""
    inspector = sa.inspect(op.get_bind())
    if not inspector.has_table("zocelery_programs"):
        _create_programs()
    for table, column in (
        ("zocelery_runs", sa.Column("template", sa.JSON)),
        ("zocelery_runs", sa.Column("rerun_of", sa.String(64))),
        ("zocelery_runs", sa.Column("reused", sa.JSON)),
        ("zocelery_nodes", sa.Column("sent", sa.JSON)),
    ):
        known = {found["name"] for found in inspector.get_columns(table)}
        if column.name not in known:
            op.add_column(table, column)


def _create_programs() -> None:
    op.create_table(
        "zocelery_programs",
        sa.Column("run", sa.String(64), primary_key=True),
        sa.Column("unit", sa.String(64), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("node", sa.String(255), nullable=False),
        sa.Column("item", sa.String(255), nullable=False),
        sa.Column("host", sa.String(255)),
        sa.Column("program", sa.String(255)),
        sa.Column("command", sa.JSON),
        sa.Column("folder", sa.Text),
        sa.Column("log", sa.Text),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("started", sa.Float),
        sa.Column("ended", sa.Float),
        sa.Column("exit_code", sa.Integer),
        sa.Column("signal", sa.String(16)),
        sa.Column("cpu_seconds", sa.Float),
        sa.Column("peak_memory_bytes", sa.Float),
    )
