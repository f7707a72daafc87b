"""Deployment: the servers that one environment's settings name, opened when needed."""

import os
import re
import threading
from functools import cached_property
from typing import TYPE_CHECKING

import redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from zocelery.errors import ServerUnreachableError
from zocelery.settings import Settings, current_settings
from zocelery.store import RunStore

if TYPE_CHECKING:
    from zocelery.history import History


class Deployment:
    """The live state and the history of one environment."""

    def __init__(self, settings: Settings) -> None:
        """Remember the settings; no server is spoken to yet."""
        self.settings = settings

    @cached_property
    def store(self) -> RunStore:
        """The live state of runs."""
        client = redis.Redis.from_url(
            self.settings.redis.url,
            decode_responses=True,
            socket_timeout=self.settings.redis.timeout,
            socket_connect_timeout=self.settings.broker.connect_timeout,
            health_check_interval=30,
            retry=Retry(ExponentialBackoff(cap=2.0, base=0.05), 8),
            retry_on_error=[RedisConnectionError, RedisTimeoutError],
        )
        return RunStore(client)

    @cached_property
    def history(self) -> "History":
        """The history of runs, its tables created if they are not there."""
        # Imported here: workers of `images` write no history and need no SQLAlchemy.
        from zocelery.history import History

        history = History(self.settings.history.url)
        history.create_tables()
        return history

    def check_store(self) -> None:
        """Raise ServerUnreachableError if Redis does not answer."""
        url = self.settings.redis.url
        try:
            client = redis.Redis.from_url(
                url,
                socket_timeout=self.settings.redis.timeout,
                socket_connect_timeout=self.settings.broker.connect_timeout,
                retry=Retry(NoBackoff(), 0),
            )
            client.ping()
            client.close()
        except redis.RedisError as error:
            raise ServerUnreachableError(
                f"cannot reach Redis at {without_password(url)}: {error}"
            ) from error

    def close(self) -> None:
        """Close what was opened."""
        if "store" in self.__dict__:
            self.store.client.close()
            del self.__dict__["store"]
        if "history" in self.__dict__:
            self.history.close()
            del self.__dict__["history"]


_SECRET_OPTION = re.compile(r"([?&][^=&]*passw[^=&]*=)[^&]*", re.IGNORECASE)
_lock = threading.Lock()
_deployments: dict[int, Deployment] = {}


def current_deployment() -> Deployment:
    """Return the deployment of this process; a forked child gets one of its own."""
    pid = os.getpid()
    with _lock:
        if pid not in _deployments:
            _deployments.clear()
            _deployments[pid] = Deployment(current_settings())
        return _deployments[pid]


def forget_deployment() -> None:
    """Close what this process has opened and read the settings anew when asked."""
    with _lock:
        for deployment in _deployments.values():
            deployment.close()
        _deployments.clear()
    current_settings.cache_clear()


def without_password(url: str) -> str:
    """Return `url` with the passwords in it replaced by asterisks.

    It may be several URLs with semicolons between them, and have passwords in its
    query, too.
    """
    return ";".join(_masked(one) for one in re.split(r";(?=[\w+]+://)", url))


def _masked(url: str) -> str:
    head, separator, rest = url.partition("://")
    credentials, at, host = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    shown = f"{user}{colon}***" if colon else credentials
    host = _SECRET_OPTION.sub(r"\1***", host)
    return f"{head}{separator}{shown}{at}{host}"
