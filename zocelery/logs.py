"""Logs: every line says of which run, node and item it speaks."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

from zocelery.terminal import printable

_FIELDS: ContextVar[Mapping[str, str]] = ContextVar(
    "zocelery_log_fields", default=MappingProxyType({})
)
CHATTY_LOGGERS = ("celery.worker.strategy", "celery.app.trace")
"""They write two lines for each task, hundreds a second: only when debugging."""
TEXT_FORMAT = "%(asctime)s %(levelname)s %(name)s%(where)s: %(message)s"


@contextmanager
def log_context(**fields: str) -> Iterator[None]:
    """Put `fields` (run, node, item) on every log record made meanwhile."""
    token = _FIELDS.set({**_FIELDS.get(), **fields})
    try:
        yield
    finally:
        _FIELDS.reset(token)


class RunFilter(logging.Filter):
    """Adds run, node and item to records, and `where` as a text of the three."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields; every record passes."""
        fields = _FIELDS.get()
        for name in ("run", "node", "item"):
            setattr(record, name, fields.get(name, ""))
        where = " ".join(fields[n] for n in ("run", "node", "item") if fields.get(n))
        record.where = f" [{where}]" if where else ""
        return True


class TextFormatter(logging.Formatter):
    """Lines for people; what a message quotes cannot pass for a line of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's)
        """Return the line, its continuations indented, control characters spelt out."""
        return printable(super().formatMessage(record)).replace("\n", "\n    ")


class JsonFormatter(logging.Formatter):
    """One JSON object per line, for log collectors."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a JSON object."""
        fields = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_FIELDS.get(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def set_up_logging(level: str = "INFO", *, as_json: bool = False) -> None:
    """Send all log records of this process to stderr."""
    stream = logging.StreamHandler()
    stream.addFilter(RunFilter())
    stream.setFormatter(JsonFormatter() if as_json else TextFormatter(TEXT_FORMAT))
    root = logging.getLogger()
    root.handlers[:] = [stream]
    root.setLevel(level.upper())
    if root.level == logging.INFO:
        for name in CHATTY_LOGGERS:
            logging.getLogger(name).setLevel(logging.WARNING)
