"""The LIMS of this process, as settings and environment name it."""

import threading
import time
from pathlib import Path

from sqlalchemy import URL

from zocelery.lims.abilities import Abilities, find_abilities
from zocelery.lims.connection import Lims
from zocelery.lims.credentials import find_url
from zocelery.settings import LimsSettings, current_settings

DEFAULT_FILE = "~/.local/share/zocelery/lims.sqlite"
"""Where nothing is configured: beside the history's default."""
ABILITIES_SECONDS = 600.0
"""Rights and columns change seldom; a worker need not be started again then."""

_lock = threading.Lock()
_opened: dict[str, tuple[Lims, Abilities | None, float]] = {}


def lims_url(settings: LimsSettings) -> URL:
    """Return where the LIMS is.

    Raises:
        ConfigurationError: URL or credentials file cannot be used.
    """
    found = find_url(settings.url)
    return found or URL.create("sqlite", database=DEFAULT_FILE)


def has_lims(settings: LimsSettings) -> bool:
    """Whether a LIMS is configured, or the default's file has been made.

    Raises:
        ConfigurationError: URL or credentials file cannot be used.
    """
    return (
        find_url(settings.url) is not None or Path(DEFAULT_FILE).expanduser().exists()
    )


def current_lims() -> Lims:
    """Return the LIMS of the configuration; nothing is opened before its first use.

    Raises:
        ConfigurationError: URL or credentials file cannot be used.
    """
    url = lims_url(current_settings().lims)
    key = url.render_as_string(hide_password=False)
    with _lock:
        if key not in _opened:
            _opened[key] = (Lims(url), None, 0.0)
        return _opened[key][0]


def current_abilities(lims: Lims) -> Abilities:
    """Return what the account may do, as of at most ten minutes ago.

    Raises:
        ServerUnreachableError: the LIMS does not answer.
        ConfigurationError: it refuses the account.
    """
    key = lims.url.render_as_string(hide_password=False)
    with _lock:
        _, known, asked = _opened.get(key, (lims, None, 0.0))
    if known is not None and time.monotonic() - asked < ABILITIES_SECONDS:
        return known
    found = find_abilities(lims)
    if found.rights:  # a file without tables gets them any moment
        with _lock:
            _opened[key] = (lims, found, time.monotonic())
    return found


def forget_lims() -> None:
    """Close what was opened."""
    with _lock:
        for lims, _, _ in _opened.values():
            lims.close()
        _opened.clear()
