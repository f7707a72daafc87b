"""Messages with arrays over a pipe: a line of JSON, then the arrays' bytes.

Read by DIALS's Python too: the standard library and numpy only.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Message:
    """What is asked or answered."""

    fields: Mapping[str, Any]
    """Values that JSON knows."""
    arrays: Mapping[str, Array] = field(default_factory=dict)
    """Read-only where they have come over a pipe."""


def send(stream: IO[bytes], message: Message) -> None:
    """Write a message to a buffered stream."""
    arrays = {name: np.ascontiguousarray(a) for name, a in message.arrays.items()}
    head = {
        "fields": dict(message.fields),
        "arrays": [[name, a.dtype.str, list(a.shape)] for name, a in arrays.items()],
    }
    stream.write(json.dumps(head).encode() + b"\n")
    for array in arrays.values():
        stream.write(array.reshape(-1).view(np.uint8).data)
    stream.flush()


def receive(stream: IO[bytes]) -> Message | None:
    """Read a message from a buffered stream; None where the stream has ended."""
    line = stream.readline()
    if not line:
        return None
    head = json.loads(line)
    arrays = {}
    for name, code, shape in head["arrays"]:
        dtype = np.dtype(code)
        content = stream.read(dtype.itemsize * int(np.prod(shape)))
        arrays[name] = np.frombuffer(content, dtype).reshape(shape)
    return Message(head["fields"], arrays)
