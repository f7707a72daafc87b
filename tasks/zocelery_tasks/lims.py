"""The tasks that store in the LIMS, as recipes name them.

Doorways: the LIMS and what it needs are imported when the first of them is called.
"""

from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

from celery import shared_task

from zocelery.errors import (
    ParameterError,
    PermanentError,
    ServerUnreachableError,
    TemporaryError,
    ZoceleryError,
)
from zocelery.messages import Step
from zocelery.open_programs import CLOSE_PROGRAMS
from zocelery.settings import current_settings
from zocelery.task import recipe_task

CHANNELS = ("output", "trigger", "held")


def _check_command(parameters: Mapping[str, Any]) -> None:
    """Refuse commands that are not known before a run starts."""
    from zocelery.lims.commands import find_command
    from zocelery.lims.request import COMMAND, COMMANDS

    told = parameters.get(COMMANDS)
    steps = [step for step in told if isinstance(step, dict)] if told else []
    for one in (parameters, *steps):
        if one.get(COMMAND):
            try:
                find_command(str(one[COMMAND]))
            except PermanentError as error:
                raise ParameterError(str(error)) from error


def _open_lims() -> None:
    """Load and open what the first message would wait for, if it is there now."""
    from zocelery.lims.current import current_abilities, current_lims, has_lims
    from zocelery.lims.tables import all_tables

    import_module("zocelery_tasks.lims_connector")
    all_tables()
    with suppress(ZoceleryError):  # its first message will tell it
        # a file is opened in no time, and not to be made by that
        if has_lims(current_settings().lims) and not current_lims().is_sqlite:
            current_abilities(current_lims())


@recipe_task(
    "ispyb_connector",
    queue="lims",
    once=CHANNELS,
    default_channel="output",
    aliases=("DLS ISPyB connector",),
    check=_check_command,
    warm_up=_open_lims,
)
def ispyb_connector(step: Step) -> dict[str, Any]:
    """Do what `ispyb_command` says in the LIMS; answer `{"result": ...}`."""
    from zocelery_tasks.lims_connector import run_step

    return run_step(step)


@recipe_task(
    "ispyb_pia",
    queue="lims",
    once=CHANNELS,
    default_channel="output",
    aliases=("DLS ISPyB PIA inserter",),
    check=_check_command,
    warm_up=_open_lims,
)
def ispyb_pia(step: Step) -> dict[str, Any]:
    """Store the per-image results of one image, together with those of others."""
    from zocelery_tasks.lims_connector import store_image

    return store_image(step)


@recipe_task(
    "store_centring",
    queue="lims",
    once=CHANNELS,
    default_channel="output",
    warm_up=_open_lims,
)
def store_centring(step: Step) -> dict[str, Any]:
    """Store what X-ray centring has found; `dcgid` is a parameter or in the payload."""
    from zocelery_tasks.lims_connector import run_step

    return run_step(step, "insert_xray_centring")


@shared_task(
    name=CLOSE_PROGRAMS,
    ignore_result=True,
    autoretry_for=(TemporaryError, ServerUnreachableError),
    retry_backoff=1,
    retry_backoff_max=60,
    max_retries=None,
    retry_kwargs={"max_retries": None},
)
def close_programs(program_ids: list[int], message: str) -> None:
    """Record as failed those programs that still count as running."""
    from zocelery_tasks.lims_connector import close_programs as close

    close(program_ids, message)
