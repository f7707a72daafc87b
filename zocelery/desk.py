"""Desk: what the engine offers a long task while it runs."""

from collections.abc import Mapping
from typing import Any, Protocol

from zocelery.settings import WrapperSettings


class Desk(Protocol):
    """Given to the function of a task of kind WRAPPER, beside its step."""

    unit: str
    """Id of the unit: the same in every try."""
    number: int
    """Which try this is, from 1."""
    settings: WrapperSettings
    timeout: float | None
    """Seconds that a try may take, as the recipe says."""

    def must_stop(self) -> bool:
        """Whether the work shall end at once: then raise `StoppedError`."""

    def tell_progress(
        self, message: str, seen: int = 0, expected: int | None = None
    ) -> None:
        """Tell those who watch the run how far it is."""

    def write_log(self, text: str) -> None:
        """Show those who watch the run what a program has printed."""

    def record_program(self, position: int, columns: Mapping[str, Any]) -> None:
        """Write to the history how the program number `position` of the try is.

        The columns are those of the table `zocelery_programs`.
        """


class NoDesk:
    """The desk of a wrapper that is called outside of a run, as in tests."""

    unit = ""
    number = 1
    timeout: float | None = None

    def __init__(self, settings: WrapperSettings) -> None:
        """Offer `settings` and nothing else."""
        self.settings = settings

    def must_stop(self) -> bool:
        """Go on."""
        return False

    def tell_progress(
        self, message: str, seen: int = 0, expected: int | None = None
    ) -> None:
        """Tell nobody."""

    def write_log(self, text: str) -> None:
        """Show nobody."""

    def record_program(self, position: int, columns: Mapping[str, Any]) -> None:
        """Record nothing."""
