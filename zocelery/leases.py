"""Leases and delivery counts in Redis: who works on what, and how often."""

from functools import cached_property
from typing import Any

PREFIX = "zocelery:"
"""All keys of zocelery in Redis begin with it."""

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

    def acquire(self, name: str, owner: str, seconds: float) -> bool:
        """Take the lease `name` unless somebody else holds it."""
        key = PREFIX + "lease:" + name
        taken = self.client.set(key, owner, nx=True, px=int(seconds * 1000))
        return bool(taken) or self.extend(name, owner, seconds)

    def extend(self, name: str, owner: str, seconds: float) -> bool:
        """Hold a lease longer; False if it has been lost."""
        key = PREFIX + "lease:" + name
        return bool(self._extend(keys=[key], args=[owner, int(seconds * 1000)]))

    def release(self, name: str, owner: str) -> None:
        """Give a lease back."""
        self._release(keys=[PREFIX + "lease:" + name], args=[owner])

    def count_delivery(self, task_id: str, expires: int = 86400) -> int:
        """Count one more delivery of a message and return the count."""
        key = PREFIX + "deliveries:" + task_id
        with self.client.pipeline() as pipe:
            pipe.incr(key)
            pipe.expire(key, expires)
            return int(pipe.execute()[0])

    @cached_property
    def _extend(self) -> Any:
        return self.client.register_script(_EXTEND)

    @cached_property
    def _release(self) -> Any:
        return self.client.register_script(_RELEASE)
