"""Notices to programs: datagrams to GDA, JSON to web servers."""

import json
import logging
import socket
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from zocelery.allowed_hosts import allowed_host
from zocelery.errors import ParameterError, PermanentError, TemporaryError
from zocelery.messages import Step
from zocelery.settings import current_settings
from zocelery_tasks.beamline_messages import laid_over

logger = logging.getLogger(__name__)
NOWHERE = "mx-control"
"""The host that Diamond's recipes name where nobody is to be told."""
_PASSING = (408, 425, 429)
"""Answers of a web server below 500 after which one tries again."""
_PORTS = {"http": 80, "https": 443}


def send_datagram(step: Step, dcid: int, host: str, port: int) -> dict[str, Any]:
    """Tell GDA of one image: `PIA:dcid:image:spots:good spots:d_min:intensity`.

    The same datagram may come twice, or never: that is what datagrams promise.

    Raises:
        PermanentError: the payload is no per-image result, the host none of the
            configuration.
        TemporaryError: the host is not found, the network is away.
    """
    text = datagram(dcid, step.payload)
    if host == NOWHERE:
        return {"sent": None}
    _require_host(host, port)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_DGRAM
        )[0]
        with socket.socket(family, kind, protocol) as link:
            link.sendto(text.encode("latin-1"), address)
    except OSError as error:
        raise TemporaryError(f"notify_gda: {host}:{port}: {error}") from error
    return {"sent": text}


def datagram(dcid: int, found: Any) -> str:
    """Return the text that GDA reads for one image's per-image analysis.

    Raises:
        PermanentError: image number or number of spots is missing.
    """
    told = found if isinstance(found, Mapping) else {}
    image = told.get("file-pattern-index") or told.get("file-number")
    if not image or told.get("n_spots_total") is None:
        raise PermanentError("notify_gda: the payload is no per-image result")
    names = ("n_spots_total", "n_spots_no_ice", "estimated_d_min", "total_intensity")
    values = (told.get(name) or 0 for name in names)
    return ":".join(("PIA", str(dcid), str(image), *map(str, values)))


class _NoRedirects(HTTPRedirectHandler):
    """Takes an answer that leads elsewhere for an error: only the host was allowed."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Lead nowhere."""


def send_request(
    step: Step, url: str, method: str, message: Mapping[str, Any]
) -> dict[str, Any]:
    """Send the payload as JSON; a second try has the same `Idempotency-Key`.

    Raises:
        PermanentError: the host is none of the configuration, or refuses the request.
        TemporaryError: the server is away, busy or broken.
    """
    _require_url(url)
    request = Request(
        url,
        data=json.dumps(laid_over(message, step.payload)).encode(),
        method=method,
        headers={"Content-Type": "application/json", "Idempotency-Key": step.unit},
    )
    opener = build_opener(_NoRedirects)
    try:
        with opener.open(request, timeout=current_settings().clients.timeout) as answer:
            return {"status": int(answer.status)}
    except HTTPError as error:
        error.close()
        passing = error.code >= 500 or error.code in _PASSING
        kind = TemporaryError if passing else PermanentError
        raise kind(f"notify_http: {_shown(url)}: answers {error.code}") from None
    except (URLError, HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise TemporaryError(f"notify_http: {_shown(url)}: {reason}") from error


def _require_url(url: str) -> None:
    """Raise PermanentError unless tasks may speak to the URL's server."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError as error:
        raise PermanentError(f"notify_http: {url[:200]!r}: {error}") from error
    if not port or not parts.hostname or "@" in parts.netloc or not url.isprintable():
        raise PermanentError(
            f"notify_http: {_shown(url)!r} is not http(s)://HOST/PATH without a user"
        )
    _require_host(parts.hostname, port)


def _require_host(host: str, port: int) -> None:
    try:
        allowed_host(host, port, current_settings().clients.hosts)
    except ParameterError as error:
        raise PermanentError(str(error)) from error


def _shown(url: str) -> str:
    """Return a URL without what may be secret: user and query."""
    head, _, rest = url.partition("://")
    return f"{head}://{rest.partition('?')[0].rpartition('@')[2]}"[:200]
