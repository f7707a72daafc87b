"""Leases and delivery counts in Redis: who works on what, and how often."""

import logging
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis.exceptions import RedisError

from zocelery import identity

logger = logging.getLogger(__name__)

PREFIX = "zocelery:"
"""All keys of zocelery in Redis begin with it."""
DELIVERIES_KEPT = 86400
"""Seconds after which the count of a message's deliveries begins anew."""

_EXTEND = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
"""

_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class Leases:
    """Leases on one Redis server: each has one owner, or none once it has lapsed."""

    def __init__(self, client: Any) -> None:
        """Use `client`, a `redis.Redis` that decodes responses."""
        self.client = client
        self._extend = client.register_script(_EXTEND)
        self._release = client.register_script(_RELEASE)

    def acquire(self, name: str, owner: str, seconds: float) -> bool:
        """Take the lease `name` unless somebody else holds it."""
        key = PREFIX + "lease:" + name
        taken = self.client.set(key, owner, nx=True, px=int(seconds * 1000))
        return bool(taken) or self.extend(name, owner, seconds)

    def extend(self, name: str, owner: str, seconds: float) -> bool:
        """Hold a lease longer; False if it has been lost."""
        key = PREFIX + "lease:" + name
        return bool(self._extend(keys=[key], args=[owner, int(seconds * 1000)]))

    def is_held(self, name: str) -> bool:
        """Whether anybody holds the lease."""
        return bool(self.client.exists(PREFIX + "lease:" + name))

    def release(self, name: str, owner: str) -> None:
        """Give a lease back."""
        self._release(keys=[PREFIX + "lease:" + name], args=[owner])

    @contextmanager
    def hold(self, name: str, seconds: float) -> Iterator[bool]:
        """Hold a lease as long as the context lasts; yield whether it was free.

        A thread renews it three times in `seconds`: it lapses that long after its
        process has died. One that lapsed while Redis was away is taken again unless
        somebody else was quicker.
        """
        owner = f"{identity.host_name()}:{uuid.uuid4()}"
        if not self.acquire(name, owner, seconds):
            yield False
            return
        ended = threading.Event()
        keeper = threading.Thread(
            target=self._keep, args=(name, owner, seconds, ended), daemon=True
        )
        keeper.start()
        try:
            yield True
        finally:
            ended.set()
            keeper.join()
            self.release(name, owner)

    def _keep(
        self, name: str, owner: str, seconds: float, ended: threading.Event
    ) -> None:
        while not ended.wait(seconds / 3):
            try:
                held = self.acquire(name, owner, seconds)
            except RedisError:
                continue
            if not held:
                logger.error("Lost the lease of %s", name)
                return

    def count_delivery(self, task_id: str) -> int:
        """Count one more delivery of a message; return the count of those to blame.

        Deliveries have names: one that is counted again, because Redis hung and its
        client asked once more, counts once.
        """
        return self._note_delivery(task_id, "delivered")

    def forgive_delivery(self, task_id: str) -> None:
        """Count one delivery less, also one to come: the worker did not die of it."""
        self._note_delivery(task_id, "forgiven")

    def forget_deliveries(self, task_id: str) -> None:
        """Count the deliveries of a message from 0 again."""
        self.client.delete(*_delivery_keys(task_id).values())

    def _note_delivery(self, task_id: str, kind: str) -> int:
        keys = _delivery_keys(task_id)
        with self.client.pipeline() as pipe:
            pipe.sadd(keys[kind], str(uuid.uuid4()))
            pipe.expire(keys[kind], DELIVERIES_KEPT)
            for key in keys.values():
                pipe.scard(key)
            *_, delivered, forgiven = pipe.execute()
        return int(delivered) - int(forgiven)


def _delivery_keys(task_id: str) -> dict[str, str]:
    names = ("delivered", "forgiven")
    return {name: f"{PREFIX}{name}:{task_id}" for name in names}
