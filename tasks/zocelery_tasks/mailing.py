"""Mail: a text to people of the configuration, taken by a mail server."""

import pprint
import smtplib
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from email.utils import formatdate
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from zocelery.allowed_hosts import allowed_address
from zocelery.errors import (
    ConfigurationError,
    ParameterError,
    PermanentError,
    TemporaryError,
)
from zocelery.messages import Step
from zocelery.settings import MailSettings, current_settings
from zocelery.templates import TemplateError, fill_text

_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
Recipients = str | Sequence[str] | Mapping[str, Any] | None


def send_mail(
    step: Step, recipients: Recipients, subject: str, content: str | Sequence[str]
) -> dict[str, Any]:
    """Send a mail; return when the mail server has taken it.

    A second try has the same Message-ID, by which mail programs tell a mail that comes
    twice: that happens when a worker dies between the server's yes and its own note.

    Raises:
        PermanentError: an address is none of the configuration, the text cannot be
            made, the server refuses it.
        ConfigurationError: no mail server is configured.
        TemporaryError: the server is away or busy.
    """
    settings = current_settings().mail
    addresses = find_addresses(recipients)
    try:
        for address in addresses:
            allowed_address(address, settings.recipients)
    except ParameterError as error:
        raise PermanentError(f"mail: {error}") from error
    message = make_message(step, addresses, subject, content, settings.sender)
    try:
        with _connection(settings) as server:
            server.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        codes = {code for code, _ in error.recipients.values()}
        raise _refusal(max(codes, default=500), error) from error
    except smtplib.SMTPResponseException as error:
        raise _refusal(error.smtp_code, error) from error
    except (smtplib.SMTPException, OSError) as error:
        raise TemporaryError(f"mail: {_place(settings)}: {error}") from error
    return {"recipients": addresses, "message_id": str(message["Message-ID"])}


def find_addresses(recipients: Recipients) -> list[str]:
    """Return the addresses that a node means, each once.

    Args:
        recipients: an address, a list, or an object: those under its key `all`, and
            those under the key that the value of `select` names.

    Raises:
        PermanentError: there is none, or one is no address.
    """
    if isinstance(recipients, Mapping):
        chosen = str(recipients.get("select"))
        named = [*_listed(recipients.get("all")), *_listed(recipients.get(chosen))]
    else:
        named = _listed(recipients)
    addresses = list(dict.fromkeys(str(one).strip() for one in named))
    if not addresses:
        raise PermanentError("mail: there are no recipients")
    for address in addresses:
        name, at, domain = address.rpartition("@")
        plain = address.isprintable() and not set(address) & set(" ,;<>\"'()")
        if not (at and name and domain and plain):
            raise PermanentError(f"mail: {address[:200]!r} is no mail address")
    return addresses


def make_message(
    step: Step,
    addresses: Sequence[str],
    subject: str,
    content: str | Sequence[str],
    sender: str,
) -> EmailMessage:
    """Return the mail.

    Raises:
        PermanentError: subject or text cannot be filled in or sent.
    """
    text = content if isinstance(content, str) else "\n".join(map(str, content))
    values = {"payload": step.payload, "pprint_payload": pprint.pformat(step.payload)}
    message = EmailMessage()
    try:
        filled = fill_text(text, values, allow_unfilled=True)
        message["Subject"] = str(fill_text(subject, values, allow_unfilled=True))
        message["From"] = sender
        message["To"] = ", ".join(addresses)
        message["Date"] = formatdate(localtime=True)
        message["Message-ID"] = f"<{step.unit}@zocelery>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(str(filled))
    except (TemplateError, ValueError) as error:
        raise PermanentError(f"mail: {error}") from error
    return message


@contextmanager
def _connection(settings: MailSettings) -> Iterator[smtplib.SMTP]:
    """Yield a connection to the configured server, logged in if it names a user."""
    parts = _server(settings)
    host, port = str(parts.hostname), parts.port or _PORTS[parts.scheme]
    context = ssl.create_default_context()
    if parts.scheme == "smtps":
        opened: smtplib.SMTP = smtplib.SMTP_SSL(
            host, port, timeout=settings.timeout, context=context
        )
    else:
        opened = smtplib.SMTP(host, port, timeout=settings.timeout)
    try:
        if parts.scheme == "smtp+starttls":
            opened.starttls(context=context)
        if parts.username:
            opened.login(unquote(parts.username), unquote(parts.password or ""))
        yield opened
        with suppress(smtplib.SMTPException, OSError):  # the mail has been taken
            opened.quit()
    finally:
        opened.close()


def _server(settings: MailSettings) -> SplitResult:
    if not settings.url:
        raise ConfigurationError("mail: no mail server is configured (mail.url)")
    parts = urlsplit(settings.url)
    if parts.scheme not in _PORTS or not parts.hostname:
        known = ", ".join(_PORTS)
        raise ConfigurationError(f"mail.url: one of {known}://HOST is expected")
    return parts


def _place(settings: MailSettings) -> str:
    parts = _server(settings)
    return f"{parts.hostname}:{parts.port or _PORTS[parts.scheme]}"


def _refusal(code: int, error: Exception) -> PermanentError | TemporaryError:
    kind = PermanentError if code >= 500 else TemporaryError
    return kind(f"mail: the server answers {error}")


def _listed(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
