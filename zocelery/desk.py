"""Desk: what the engine offers a long task while it runs."""

from collections.abc import Mapping
from typing import Any, Protocol

from zocelery.cluster_settings import SlurmSettings
from zocelery.settings import WrapperSettings, current_settings


class Desk(Protocol):
    """Given to the function of a task of kind WRAPPER, beside its step."""

    unit: str
    """Id of the unit: the same in every try."""
    number: int
    """Which try this is, from 1."""
    settings: WrapperSettings
    timeout: float | None
    """Seconds that a try may take, as the recipe says."""

    @property
    def slurm(self) -> SlurmSettings:
        """The clusters that there are."""

    @property
    def kept(self) -> Mapping[str, Any]:
        """What `keep` was last given in this try, by whichever worker."""

    def must_stop(self) -> bool:
        """Whether the work shall end at once: then raise `StoppedError`."""

    def is_cancelled(self) -> bool:
        """Whether nobody wants the work any more; else another worker goes on."""

    def keep(self, kept: Mapping[str, Any], *, is_away: bool) -> None:
        """Keep what another worker needs to go on with this try when this one is gone.

        With `is_away` something goes on without any worker meanwhile.
        """

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
        self.kept: Mapping[str, Any] = {}

    @property
    def slurm(self) -> SlurmSettings:
        """The clusters of this process's configuration."""
        return current_settings().slurm

    def must_stop(self) -> bool:
        """Go on."""
        return False

    def is_cancelled(self) -> bool:
        """Go on."""
        return False

    def keep(self, kept: Mapping[str, Any], *, is_away: bool) -> None:
        """Keep it as long as this desk lasts."""
        del is_away
        self.kept = kept

    def tell_progress(
        self, message: str, seen: int = 0, expected: int | None = None
    ) -> None:
        """Tell nobody."""

    def write_log(self, text: str) -> None:
        """Show nobody."""

    def record_program(self, position: int, columns: Mapping[str, Any]) -> None:
        """Record nothing."""
