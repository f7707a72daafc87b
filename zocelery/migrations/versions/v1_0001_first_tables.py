"""The tables that there were before there were revisions."""

import sqlalchemy as sa
from alembic import op

revision = "1_0001"
down_revision = None


def upgrade() -> None:
    """Create the tables of runs, nodes, tries and failed members."""
    op.create_table(
        "zocelery_runs",
        sa.Column("run", sa.String(64), primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("recipe", sa.String(255), nullable=False),
        sa.Column("document", sa.JSON, nullable=False),
        sa.Column("parameters", sa.JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("host", sa.String(255)),
        sa.Column("submitted", sa.Float, nullable=False),
        sa.Column("ended", sa.Float),
        sa.Column("error", sa.Text),
        sa.Column("counts", sa.JSON),
    )
    op.create_table(
        "zocelery_nodes",
        *_unit_columns(),
        sa.Column("task", sa.String(255)),
        sa.Column("result", sa.JSON),
    )
    op.create_table(
        "zocelery_tries",
        *_unit_columns(),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("host", sa.String(255)),
    )
    op.create_table(
        "zocelery_failures",
        sa.Column("run", sa.String(64), primary_key=True),
        sa.Column("node", sa.String(190), primary_key=True),
        sa.Column("item", sa.String(64), primary_key=True),
        sa.Column("error", sa.Text, nullable=False),
    )


def _unit_columns() -> tuple["sa.Column[object]", ...]:
    return (
        sa.Column("run", sa.String(64), primary_key=True),
        sa.Column("unit", sa.String(64), primary_key=True),
        sa.Column("node", sa.String(255), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("started", sa.Float),
        sa.Column("ended", sa.Float),
        sa.Column("error", sa.Text),
    )
