"""Recorded: what rules start is a processing job of the LIMS, as what users ask for."""

import logging
from collections.abc import Mapping
from typing import Any

from zocelery.errors import ConfigurationError, PermanentError
from zocelery.lims.current import current_abilities, current_lims, has_lims
from zocelery.lims.jobs import JobRequest, create_job
from zocelery.lims.known import PROCESS
from zocelery.lims.lookup import DCID
from zocelery.lims.writer import write_rows
from zocelery.settings import current_settings

logger = logging.getLogger(__name__)


def record_job(
    run: str, recipe: str, parameters: Mapping[str, Any], job: Mapping[str, str]
) -> dict[str, Any]:
    """Return what fills the recipe, with the id of its processing job.

    The job is made once for a run. A LIMS that takes none (the account may not write,
    the images are not known) does not keep the run from starting: that is told.

    Args:
        run: id of the run.
        recipe: name of its recipe.
        parameters: what has been looked up and asked for.
        job: the job's parameters, in the words of the LIMS.

    Raises:
        ServerUnreachableError: the LIMS does not answer.
        TemporaryError: others were in the way.
    """
    values = dict(parameters)
    dcid = values.get(DCID)
    if dcid is None or values.get(PROCESS) or not has_lims(current_settings().lims):
        return values
    request = JobRequest(
        recipe=recipe, dcid=int(dcid), parameters=tuple(job.items()), automatic=True
    )
    lims = current_lims()
    try:
        values[PROCESS] = write_rows(
            lims,
            current_abilities(lims),
            lambda writer: create_job(writer, f"run {run}", request),
        )
    except (ConfigurationError, PermanentError) as error:
        logger.warning("Not recorded as a processing job: %s", error)
    return values
