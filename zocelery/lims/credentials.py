"""Where the LIMS is: a URL of the configuration, or ISPyB's own credentials file."""

import os
from collections.abc import Mapping
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from zocelery.errors import ConfigurationError

VARIABLE = "ISPYB_CREDENTIALS"
"""Names the file that all programs of ISPyB read."""
DRIVER = "mysql+pymysql"
_FORMS = {
    "ispyb_sqlalchemy": {
        "username": "username",
        "password": "password",
        "host": "host",
        "port": "port",
        "database": "database",
    },
    "ispyb_mariadb_sp": {
        "username": "user",
        "password": "pw",
        "host": "host",
        "port": "port",
        "database": "db",
    },
}
"""For each section what it calls the parts of a URL; the first that is there counts."""


def find_url(configured: str, variables: Mapping[str, str] = os.environ) -> URL | None:
    """Return the LIMS's URL, or None if none is configured.

    Args:
        configured: `[lims] url` of the settings; "" looks at `ISPYB_CREDENTIALS`.
        variables: the process's environment variables.

    Raises:
        ConfigurationError: names file, section and option; never a password.
    """
    if configured:
        return _parse(configured)
    named = variables.get(VARIABLE)
    return read_credentials(Path(named)) if named else None


def read_credentials(path: Path) -> URL:
    """Return the URL that a credentials file describes.

    Raises:
        ConfigurationError: the file cannot be read, or an option is missing.
    """
    parser = ConfigParser(interpolation=None)
    try:
        with path.open() as stream:
            parser.read_file(stream)
    except OSError as error:
        raise ConfigurationError(
            f"{VARIABLE}: {path}: cannot be read: {error.strerror}"
        ) from error
    except (ConfigParserError, UnicodeDecodeError) as error:
        # Its own text may quote the line with the password.
        raise ConfigurationError(f"{VARIABLE}: {path}: is no ini file") from error
    for section, names in _FORMS.items():
        if parser.has_section(section):
            return _url_of(path, section, names, dict(parser.items(section)))
    raise ConfigurationError(
        f"{VARIABLE}: {path}: has none of the sections {', '.join(_FORMS)}"
    )


def _url_of(
    path: Path, section: str, names: Mapping[str, str], options: Mapping[str, str]
) -> URL:
    missing = [name for name in names.values() if not options.get(name)]
    if missing:
        raise ConfigurationError(
            f"{VARIABLE}: {path}: section {section}: {', '.join(missing)} missing"
        )
    port = options[names["port"]]
    if not port.isdigit():
        raise ConfigurationError(
            f"{VARIABLE}: {path}: section {section}: {names['port']} = {port!r} is no "
            "number"
        )
    return URL.create(
        DRIVER,
        username=options[names["username"]],
        password=options[names["password"]],
        host=options[names["host"]],
        port=int(port),
        database=options[names["database"]],
    )


def _parse(text: str) -> URL:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):  # their messages may show the password
        raise ConfigurationError("lims.url: is no SQLAlchemy URL") from None
    backend = url.get_backend_name()
    if backend in ("mysql", "mariadb") and "+" not in url.drivername:
        return url.set(drivername=DRIVER)
    return url
