"""What the LIMS says for a run: the same for command line, Python and the bridge."""

import logging
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from zocelery import identity
from zocelery.lims.current import has_lims
from zocelery.lims.lookup import DCID, look_up_current, wait_for_current
from zocelery.settings import current_settings

logger = logging.getLogger(__name__)
PROCESS = "ispyb_process"


def known_parameters(
    given: Mapping[str, Any],
    *,
    dcid: int | None = None,
    job: int | None = None,
    run_id: str | None = None,
    names_recipe: bool = True,
    waits: bool = True,
) -> tuple[dict[str, Any], str | None]:
    """Return what fills a recipe, and the recipe that a processing job asks for.

    What is given goes before what is found. Without any LIMS only the ids themselves
    are known.

    Args:
        given: the parameters so far; ids of the LIMS may be among them.
        dcid: data collection.
        job: processing job; its parameters and its images become those of the recipe.
        run_id: of the run; by default `guid` of `given`, or a new one.
        names_recipe: whether the recipe is known already; else the job says it.
        waits: wait for the run status where `ispyb_wait_for_runstatus` asks for that.

    Raises:
        UserError: there is no such data collection or job, a server does not answer.
    """
    guid = run_id or given.get("guid") or identity.new_run_id()
    asked: dict[str, Any] = {**given, "guid": str(guid)}
    asked |= {} if dcid is None else {DCID: dcid}
    asked |= {} if job is None else {PROCESS: job}
    if not has_lims(current_settings().lims):
        logger.warning("No LIMS is configured: nothing is looked up")
        return asked, None
    if waits:
        wait_for_current(asked)
    found = look_up_current(asked, names_recipe=names_recipe, writes=True)
    values = found.parameters
    ids = {name: values[name] for name in (DCID, PROCESS) if name in values}
    return {**values, **_of_job(values), **given, **ids}, found.recipe


def _of_job(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a processing job sets under the names of the bundled recipes."""
    if found.get("ispyb_processing_job") is None:
        return {}
    asked = dict(found["ispyb_reprocessing_parameters"])
    values = {"ispyb_parameters": asked, "images": _images(found)}
    # It is part of the name under which the program is registered.
    values["pipeline"] = asked.get("pipeline")
    return {name: value for name, value in values.items() if value}


def _images(found: Mapping[str, Any]) -> str | None:
    """Return the images of a job's only sweep, as recipes name them."""
    ranges = str(found.get("ispyb_images") or "").split(",")
    parts = ranges[0].rsplit(":", 2)
    pattern = found.get("ispyb_image_pattern")
    directory = found.get("ispyb_image_directory")
    if len(ranges) != 1 or len(parts) != 3 or not pattern or not directory:
        return None
    return f"{PurePosixPath(directory, pattern)}:{parts[1]}:{parts[2]}"
