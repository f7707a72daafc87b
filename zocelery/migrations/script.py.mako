"""${message}."""

import sqlalchemy as sa
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Add what is new; what is there already is left alone."""
    ${upgrades if upgrades else "pass"}
