"""The tables of the history of runs.

A column that is added here needs a migration (`zocelery/migrations`); a test compares.
Within one major version of the schema columns are only added, and may be null: a worker
of the version before goes on writing its rows beside one of this.
"""

from typing import Any

from sqlalchemy import JSON, Column, Float, Integer, MetaData, String, Table, Text

SCHEMA_VERSION = 1
"""Stands in each run's row: the major version of what is in it."""
LONGEST_ITEM = 64

metadata = MetaData()


def _unit_columns() -> tuple[Column[Any], ...]:
    """Return the columns that units and their tries have in common."""
    return (
        Column("run", String(64), primary_key=True),
        Column("unit", String(64), primary_key=True),
        Column("node", String(255), nullable=False),
        Column("state", String(16), nullable=False),
        Column("started", Float),
        Column("ended", Float),
        Column("error", Text),
    )


runs = Table(
    "zocelery_runs",
    metadata,
    Column("run", String(64), primary_key=True),
    Column("version", Integer, nullable=False, default=SCHEMA_VERSION),
    Column("recipe", String(255), nullable=False),
    Column("document", JSON, nullable=False),
    Column("parameters", JSON, nullable=False),
    Column("state", String(16), nullable=False),
    Column("host", String(255)),
    Column("submitted", Float, nullable=False),
    Column("ended", Float),
    Column("error", Text),
    Column("counts", JSON),
    # the recipe before its placeholders were filled in
    Column("template", JSON(none_as_null=True)),
    # the run of which this one is a re-run, and the nodes whose answers it reuses
    Column("rerun_of", String(64)),
    Column("reused", JSON(none_as_null=True)),
)
nodes = Table(
    "zocelery_nodes",
    metadata,
    *_unit_columns(),
    Column("task", String(255)),
    Column("result", JSON),
    # what was sent on channels for one message, beside the result; null: not known
    Column("sent", JSON(none_as_null=True)),
)
tries = Table(
    "zocelery_tries",
    metadata,
    *_unit_columns(),
    Column("number", Integer, primary_key=True),
    Column("host", String(255)),
)
failures = Table(
    "zocelery_failures",
    metadata,
    Column("run", String(64), primary_key=True),
    Column("node", String(190), primary_key=True),
    Column("item", String(LONGEST_ITEM), primary_key=True),
    Column("error", Text, nullable=False),
)
programs = Table(
    "zocelery_programs",
    metadata,
    Column("run", String(64), primary_key=True),
    Column("unit", String(64), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("node", String(255), nullable=False),
    Column("item", String(255), nullable=False),
    Column("host", String(255)),
    Column("program", String(255)),
    Column("command", JSON),
    Column("folder", Text),
    Column("log", Text),
    Column("state", String(16), nullable=False),
    Column("started", Float),
    Column("ended", Float),
    Column("exit_code", Integer),
    Column("signal", String(16)),
    Column("cpu_seconds", Float),
    Column("peak_memory_bytes", Float),
)
