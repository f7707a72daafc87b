"""Programs in the LIMS whose run has ended without them: they do not stay running."""

import logging

from celery import Signature
from kombu.exceptions import OperationalError as BrokerError

from zocelery.store import RunStore
from zocelery.variables import programs_of

logger = logging.getLogger(__name__)
CLOSE_PROGRAMS = "zocelery.close_programs"
"""Celery task of the queue `lims`: ids of programs, and what is said of them."""


def close_programs_later(store: RunStore, run: str, reason: str) -> None:
    """Ask for the end of what the run has registered in the LIMS and never ended.

    Those that have said how they ended are left as they are; asking twice is harmless.
    """
    programs = programs_of(store, run)
    if not programs:
        return
    options = {"queue": "lims", "argsrepr": f"run {run[:8]}"}
    try:
        Signature(
            CLOSE_PROGRAMS, args=(programs, reason), options=options
        ).apply_async()
    except (BrokerError, OSError) as error:
        logger.warning("Programs %s stay open in the LIMS: %s", programs, error)
