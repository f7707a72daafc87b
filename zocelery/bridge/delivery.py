"""What the broker delivers from a queue of Zocalo's: bytes, headers, properties."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zocelery.dead_letter import PROPERTIES, REASON_PREFIX
from zocelery.dead_letter_format import tag, untag
from zocelery.egress import RECIPE_HEADER

_TRUE = (True, 1, "True", "true")


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as it came; it may have no headers and no properties at all."""

    queue: str
    body: bytes
    headers: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, Any] = field(default_factory=dict)

    @property
    def errors(self) -> bool:
        """As in kombu's messages: the body has not been decompressed."""
        return True

    @property
    def content_encoding(self) -> str | None:
        """The encoding that the sender names, if any."""
        return self.properties.get("content_encoding")

    @property
    def is_recipe_wrapped(self) -> bool:
        """Whether its header says that a recipe comes with it."""
        return self.headers.get(RECIPE_HEADER) in _TRUE

    @property
    def client_headers(self) -> dict[str, Any]:
        """The headers that its sender has set, without what brokers and we add."""
        return {
            name: value
            for name, value in self.headers.items()
            if not str(name).startswith((REASON_PREFIX, "x-"))
        }

    def dump(self) -> str:
        """Return it as JSON; `load` makes the same again."""
        return json.dumps(
            {
                "queue": self.queue,
                "body": base64.b64encode(self.body).decode("ascii"),
                "headers": tag(dict(self.headers)),
                "properties": tag(dict(self.properties)),
            }
        )

    @classmethod
    def load(cls, text: str) -> "Delivery":
        """Read what `dump` wrote."""
        found = json.loads(text)
        return cls(
            queue=found["queue"],
            body=base64.b64decode(found["body"]),
            headers=untag(found["headers"]),
            properties=untag(found["properties"]),
        )


def from_broker(message: Any, queue: str) -> Delivery:
    """Return a message as py-amqp delivers it from `queue`, undecoded."""
    properties = dict(message.properties or {})
    headers = properties.pop("application_headers", None) or {}
    body = message.body or b""
    return Delivery(
        queue=queue,
        body=body.encode() if isinstance(body, str) else bytes(body),
        headers=dict(headers),
        properties={n: properties[n] for n in PROPERTIES if n in properties},
    )
