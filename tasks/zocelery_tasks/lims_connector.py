"""Zocalo's ISPyB connector as a task: commands, variables, per-image results."""

import logging
from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any

from zocelery.errors import PermanentError
from zocelery.lims import commands
from zocelery.lims.current import current_abilities, current_lims
from zocelery.lims.image_quality import store_image_rows
from zocelery.lims.jobs import JobRequest, create_job
from zocelery.lims.programs import close_program, register_program, update_status
from zocelery.lims.request import COMMAND, Request
from zocelery.lims.writer import Writer, write_rows
from zocelery.messages import Step
from zocelery.variables import PROGRAMS
from zocelery_tasks.group_commit import GroupCommit

logger = logging.getLogger(__name__)
STORE_IMAGE = "store_per_image_analysis_results"
Layers = tuple[Mapping[str, Any], ...]


def run_step(step: Step, command: str = "") -> dict[str, Any]:
    """Do what a step asks for; what it sends goes out once all is stored.

    Args:
        step: its payload's values come before its parameters.
        command: what it is if neither names one.

    Raises:
        PermanentError: the command is not known, a value cannot be used.
        ConfigurationError: the account lacks a right.
        TemporaryError, ServerUnreachableError: trying again may help.
    """
    lims = current_lims()
    abilities = current_abilities(lims)
    variables = dict(step.environment)
    layers = layers_of(step, command)
    outcome = commands.run_command(lims, abilities, layers, variables, step.unit)
    for name, value in outcome.variables.items():
        step.environment[name] = value
    if outcome.programs:
        step.environment[PROGRAMS] = outcome.programs
    for channel, payload in outcome.sends:
        step.send(channel, payload)
    return {"result": outcome.result}


def layers_of(step: Step, command: str = "") -> Layers:
    """Return where a request looks for its values.

    Which command it is says the node, and only else the payload.
    """
    told = dict(step.payload) if isinstance(step.payload, Mapping) else {}
    named = step.parameters.get(COMMAND) or command
    if named:
        told[COMMAND] = named
    return (told, step.parameters)


def store_image(step: Step) -> dict[str, Any]:
    """Store per-image results: of one image, or of a list of them.

    Returns once they are stored for good. What other threads of this process bring
    meanwhile goes into the same transaction.
    """
    named = step.parameters.get(COMMAND) or STORE_IMAGE
    if named != STORE_IMAGE:
        return run_step(step)
    rows = [_image_row(step, payload) for payload in _payloads(step.payload)]
    _images().add(rows)
    numbers = [row["imageNumber"] for row in rows]
    return {"result": numbers[0] if len(numbers) == 1 else len(numbers)}


def show_program(
    step: Step, named: tuple[int, str, str], *, message: str, status: str
) -> dict[str, Any]:
    """Say in the LIMS how a run goes: one processing job and program for each run.

    Args:
        step: its payload's `time` says how old the news are: older ones are left out.
        named: data collection, recipe and program.
        message: what is to be shown.
        status: "running", "success" or "failure".
    """
    dcid, recipe, program = named
    key = f"{step.run_id}/{program}"

    def _show(writer: Writer) -> int:
        job = JobRequest(recipe=recipe, dcid=dcid, automatic=True)
        made = create_job(writer, key, job)
        found = register_program(writer, key, program=program, job=made)
        moment = step.payload.get("time")
        return update_status(
            writer, found, status=status, message=message, update_time=moment
        )

    lims = current_lims()
    found = write_rows(lims, current_abilities(lims), _show)
    step.environment[PROGRAMS] = [found]
    return {"result": found}


def close_programs(program_ids: Sequence[int], message: str) -> None:
    """Record as failed those programs that still count as running."""
    lims = current_lims()
    abilities = current_abilities(lims)
    for key in program_ids:
        close = partial(close_program, program_id=key, message=message)
        if write_rows(lims, abilities, close):
            logger.info("Program %d is recorded as failed: %s", key, message)


def _payloads(payload: Any) -> list[Any]:
    """Return the images that a payload describes; `collect` answers `members`."""
    if isinstance(payload, Mapping) and isinstance(payload.get("members"), list):
        payload = payload["members"]
    found = payload if isinstance(payload, list) else [payload]
    if not found:
        raise PermanentError("LIMS: the list of images is empty")
    return found


def _image_row(step: Step, payload: Any) -> dict[str, Any]:
    told = payload if isinstance(payload, Mapping) else {}
    layers = ({**told, COMMAND: STORE_IMAGE}, step.parameters)
    return commands.read_image_row(Request(layers, step.environment, step.unit))


@cache
def _images() -> GroupCommit:
    """Return where the threads of this process meet."""

    def _store(rows: Sequence[Mapping[str, Any]]) -> None:
        lims = current_lims()
        store_image_rows(lims, current_abilities(lims), rows)

    return GroupCommit(_store)
