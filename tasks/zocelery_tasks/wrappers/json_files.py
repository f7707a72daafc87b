"""JSON that programs leave behind."""

import json
import math
from pathlib import Path
from typing import Any

from zocelery.errors import PermanentError

MOST_READ = 200_000_000
"""Bytes."""


def read_json_file(file: Path, most: int = MOST_READ) -> Any:
    """Return what a program has left as JSON.

    NaN and infinity, which are no JSON and which programs write all the same, are None:
    nobody to whom the answer goes could read them.

    Raises:
        PermanentError: it cannot be read, or is larger than `most` bytes; names it.
    """
    try:
        size = file.stat().st_size
        if size > most:
            raise PermanentError(f"{file}: is {size} bytes, {most} at most are read")
        text = file.read_text(encoding="utf-8-sig")
        return json.loads(text, parse_constant=_nothing, parse_float=_number)
    except RecursionError:
        raise PermanentError(f"{file}: is nested too deeply") from None
    except OSError as error:
        raise PermanentError(f"{file}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise PermanentError(f"{file}: cannot be read: {error}") from error


def _nothing(_: str) -> None:
    return None


def _number(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None
