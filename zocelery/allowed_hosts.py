"""Allowed hosts: whom tasks may speak to when a message names a server.

Recipes, parameters and payloads come from the network. Whatever in them names a server,
a mail address or a queue is looked up in the configuration before anything is sent.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from zocelery.errors import ParameterError


def allowed_host(host: str, port: int, hosts: Sequence[str], key: str = "host") -> None:
    """Raise unless tasks may speak to a server.

    Args:
        host: its name or address.
        port: 1 to 65535.
        hosts: the setting `clients.hosts`: "host", "host:port" or ".domain".
        key: what errors call it.

    Raises:
        ParameterError: it is not in the configuration; one line that names key and
            value.
    """
    name = host.lower().rstrip(".")
    if not any(_is_meant(name, port, one.lower()) for one in hosts):
        raise ParameterError(
            f"{key}: {host[:200]!r} port {port} is not a server of the configuration "
            "(clients.hosts)"
        )


def allowed_name(name: str, patterns: Sequence[str], key: str, setting: str) -> None:
    """Raise unless a name is one of the configuration's; `*` and `?` are wild cards.

    Raises:
        ParameterError: it is none; one line that names key, value and setting.
    """
    if not any(fnmatchcase(name, pattern) for pattern in patterns):
        raise ParameterError(
            f"{key}: {name[:200]!r} is none of the configuration ({setting})"
        )


def allowed_address(address: str, recipients: Sequence[str]) -> None:
    """Raise unless mail may be sent to an address.

    Args:
        address: `name@domain`.
        recipients: the setting `mail.recipients`: addresses, or "@domain".

    Raises:
        ParameterError: it may not; one line that names the address.
    """
    _, _, domain = address.lower().rpartition("@")
    known = {one.lower() for one in recipients}
    if address.lower() not in known and f"@{domain}" not in known:
        raise ParameterError(
            f"recipients: {address[:200]!r} is none of the configuration "
            "(mail.recipients)"
        )


def _is_meant(host: str, port: int, entry: str) -> bool:
    named, colon, number = entry.rpartition(":")
    if colon and number.isdecimal():
        return port == int(number) and _is_meant(host, port, named)
    return host.endswith(entry) if entry.startswith(".") else host == entry
