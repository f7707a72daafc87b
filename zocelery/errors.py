"""Every error that zocelery raises on purpose.

Two families matter to callers: a `UserError` is a mistake that the person at the
keyboard can mend (exit code 2, nothing was started); a `TaskError` happens while a
run is going on and says whether trying again can help.
"""

from collections.abc import Mapping
from typing import Any


class ZoceleryError(Exception):
    """The root of all errors that zocelery raises on purpose."""

    exit_code = 1


class UserError(ZoceleryError):
    """Something that was asked for cannot be done as asked; nothing was started."""

    exit_code = 2


class RecipeError(UserError):
    """A recipe is not valid; the message names recipe, node and key."""


class ParameterError(UserError):
    """A parameter is missing or has a value that cannot be used."""


class ConfigurationError(UserError):
    """The configuration file or a `ZOCELERY_*` variable cannot be used."""


class InputFileError(UserError):
    """A file that was named cannot be read or written."""


class ServerUnreachableError(UserError):
    """A server that is needed does not answer."""


class UnknownRunError(UserError):
    """No run has this id."""


class RunFailedError(ZoceleryError):
    """A run ended without its result; the message names the nodes that failed."""


class TaskError(ZoceleryError):
    """The root of what a task may raise on purpose."""


class PermanentError(TaskError):
    """Trying again cannot help: the task is answered by an error, or parked."""


class ImageError(PermanentError):
    """An image cannot be analysed: truncated, of the wrong size, not readable."""


class TemporaryError(TaskError):
    """Trying again may help: the task is retried with growing, jittered pauses."""


class ProgramError(PermanentError):
    """An external program failed; `details` says which, and how."""

    def __init__(self, message: str, details: Mapping[str, Any] | None = None) -> None:
        """Keep what the channel `failure` tells beside the message."""
        super().__init__(message)
        self.details = dict(details or {})


class NotYetError(TaskError):
    """Something that the task needs is not there yet: it is asked again later."""

    def __init__(self, message: str, pause: float) -> None:
        """Ask for another try after `pause` s; it is not counted as a failure."""
        super().__init__(message)
        self.pause = pause


class StoppedError(TaskError):
    """A task ended its work early because it was asked to, by a cancelled run."""


class NewerVersionError(TaskError):
    """A newer zocelery has written it: it is left to newer workers."""
