"""What a file watcher is told: which images, and how long to wait for them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from zocelery.allowed_files import allowed_path
from zocelery.settings import current_settings
from zocelery_tasks.lenient_values import LenientParameters, from_text

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf", ".nxs", ".nx5")

_PLACEHOLDER = re.compile(r"%0?\d*d")
_LARGEST_NUMBER = 10**12
_LONGEST_PLACEHOLDER = len("%099d")
_HASHES = re.compile(r"#+")
_RANGE = re.compile(r"(?P<file>.+?)(?::(?P<first>\d+):(?P<last>\d+))?", re.DOTALL)


class FileWatcherParameters(LenientParameters):
    """A node's parameters for the file watcher.

    Exactly one of `pattern`, `list`, `hdf5` and `images` says what to watch for.
    """

    whose: ClassVar[str] = "file watcher"

    pattern: str | None = None
    """Path with one number, as `x_%05d.cbf` or `x_#####.cbf`."""
    pattern_start: int | None = Field(default=None, ge=0, alias="pattern-start")
    """First number in `pattern`."""
    pattern_end: int | None = Field(default=None, ge=0, alias="pattern-end")
    """Last number in `pattern`."""
    files: list[str | None] | None = Field(default=None, alias="list")
    """Paths; an empty one ends the watch with an error, `[None]` without one."""
    hdf5: str | None = None
    """Master file of a data collection."""
    images: str | None = None
    """`PATTERN:FIRST:LAST`, `MASTER.h5`, `MASTER.h5:FIRST:LAST` or one file."""
    burst_limit: int = Field(default=100, ge=1, le=10_000, alias="burst-limit")
    """Images looked for, and told of, at once."""
    burst_wait: float = Field(default=0, ge=0, alias="burst-wait")
    """Seconds from one look to the next, at least."""
    timeout: float = Field(default=3600, ge=0)
    """Seconds without a new image until the watch gives up."""
    timeout_first: float | None = Field(default=None, ge=0, alias="timeout-first")
    """The same until the first image has come; `timeout` if not given."""
    expected_per_image_delay: float | None = Field(
        default=None, alias="expected-per-image-delay"
    )
    """Seconds per image that the log's `unexpected_delay` leaves out."""
    log_timeout_as_info: bool = Field(default=False, alias="log-timeout-as-info")
    """Giving up is nothing to warn of."""
    live: bool = False
    """The images of `images` are still to be written: they need not be there yet."""
    look_timeout: float = Field(default=30, gt=0, alias="look-timeout")
    """Seconds that one look at the files may take before it is tried again."""

    @field_validator("files", mode="before")
    @classmethod
    def _read_text(cls, value: Any) -> Any:
        return from_text(value)

    @field_validator("expected_per_image_delay", mode="before")
    @classmethod
    def _ignore_nonsense(cls, value: Any) -> float | None:
        try:
            return float(value)
        except (TypeError, ValueError):
            return None

    @field_validator("pattern")
    @classmethod
    def _read_pattern(cls, value: str | None) -> str | None:
        return None if value is None else as_template(value)

    @model_validator(mode="after")
    def _require_one_mode(self) -> Self:
        modes = {
            "pattern": self.pattern,
            "list": self.files,
            "hdf5": self.hdf5,
            "images": self.images,
        }
        given = [name for name, value in modes.items() if value is not None]
        if len(given) != 1:
            raise ValueError(
                "one of pattern, list, hdf5 and images is needed, not "
                f"{' and '.join(given) or 'none'}"
            )
        if self.pattern is not None:
            _check_range("pattern", self.pattern_start, self.pattern_end)
        if self.images is not None:
            ImageSource.parse(self.images)
        return self

    def check_files(self) -> None:
        """Refuse to watch what tasks may not read.

        Raises:
            ParameterError: a file is outside of the allowed folders; names key and
                value.
        """
        for key, path in self._files():
            allowed_path(path, key)

    def _files(self) -> Iterator[tuple[str, str | Path]]:
        """Yield the files that decide where the watch looks, each with its key."""
        if self.pattern is not None:
            for number in (self.pattern_start, self.pattern_end):
                yield "pattern", _numbered(self.pattern, number)
        yield from (("list", file) for file in self.files or () if file)
        if self.hdf5 is not None:
            yield "hdf5", self.hdf5
        if self.images is not None:
            source = ImageSource.parse(self.images)
            yield "images", source.first_path
            yield "images", source.last_path


class ImageSource(BaseModel):
    """What the parameter `images` names."""

    model_config = ConfigDict(frozen=True)

    file: str
    """A master file, or a template for `%`, or one path."""
    is_hdf5: bool
    first: int | None = None
    last: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the images that a text names.

        Raises:
            ValueError: if it names none.
        """
        found = _RANGE.fullmatch(text)
        if found is None:
            raise ValueError("images is empty")
        file = found["file"]
        first, last = (
            None if found[key] is None else int(found[key]) for key in ("first", "last")
        )
        if file.lower().endswith(HDF5_SUFFIXES):
            if first is not None:
                _check_range("images", first, last, least=1)
            return cls(file=file, is_hdf5=True, first=first, last=last)
        if first is None and not _has_number(file):
            return cls(file=file.replace("%", "%%"), is_hdf5=False)
        template = as_template(file)
        if first is None:
            raise ValueError(
                f"images {text!r}: say which, {file}:FIRST:LAST, such as {file}:1:100"
            )
        _check_range("images", first, last)
        return cls(file=template, is_hdf5=False, first=first, last=last)

    @property
    def first_path(self) -> Path:
        """The first file of the images."""
        return Path(self.file if self.is_hdf5 else _numbered(self.file, self.first))

    @property
    def last_path(self) -> Path:
        """The last file of the images."""
        return Path(self.file if self.is_hdf5 else _numbered(self.file, self.last))


def _numbered(template: str, number: int | None) -> str:
    try:
        return template % number
    except TypeError:  # no number in it
        return template % ()


def _has_number(file: str) -> bool:
    return "#" in file or _PLACEHOLDER.search(file) is not None


def as_template(pattern: str) -> str:
    """Return a pattern with one number in it in the form that `%` takes.

    Raises:
        ValueError: if there is no number in it, or more than one.
    """
    if _PLACEHOLDER.search(pattern) is None:
        runs = list(_HASHES.finditer(pattern))
        if runs:
            start, end = runs[-1].span()
            before, after = (
                part.replace("%", "%%") for part in (pattern[:start], pattern[end:])
            )
            return as_template(f"{before}%0{end - start}d{after}")
    if any(
        len(found) > _LONGEST_PLACEHOLDER for found in _PLACEHOLDER.findall(pattern)
    ):
        raise ValueError("pattern: a number has 99 digits at most")
    plain = _PLACEHOLDER.sub("", pattern, count=1).replace("%%", "")
    if "%" in plain or _PLACEHOLDER.search(pattern) is None:
        raise ValueError(
            f"pattern {pattern!r}: one number is expected in it, as in x_%05d.cbf or "
            "x_#####.cbf"
        )
    return pattern


def _check_range(key: str, first: int | None, last: int | None, least: int = 0) -> None:
    if first is None or last is None:
        raise ValueError(f"{key} needs {key}-start and {key}-end")
    if first < least:
        raise ValueError(f"{key}: the first image is {least} at least, not {first}")
    if last > _LARGEST_NUMBER:
        raise ValueError(f"{key}: no image has a number above {_LARGEST_NUMBER}")
    if last < first:
        raise ValueError(f"{key}: image {last} is not after image {first}")
    count, most = last - first + 1, current_settings().run.most_members
    if count > most:
        raise ValueError(f"{key}: {count} images, {most} may be (run.most_members)")
