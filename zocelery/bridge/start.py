"""Starting what a request asks for: each run once, however often it is asked for."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from celery import Celery

from zocelery.bridge.recorded import record_job
from zocelery.bridge.request import named_recipes
from zocelery.context import get_context
from zocelery.deployment import Deployment
from zocelery.errors import (
    ParameterError,
    ServerUnreachableError,
    TemporaryError,
    UserError,
)
from zocelery.lims.known import PROCESS
from zocelery.logs import log_context
from zocelery.publication import begin_run
from zocelery.recipe import Recipe
from zocelery.recipe_format import parse_recipe
from zocelery.recipe_library import RecipeLibrary, current_library
from zocelery.recipe_merge import merge_recipes
from zocelery.recipe_notes import ignored_parameters
from zocelery.registry import load_catalogue
from zocelery.rules.decision import decide, load_rules
from zocelery.rules.scenario import EVENT, find_scenario
from zocelery.submission import Urgency, launch, prepare

logger = logging.getLogger(__name__)
JOBS = (PROCESS, "ispyb_reprocessing_id")
LEASE_SECONDS = 6.0
PATIENCE = 60.0
"""Seconds to wait for another who deals with the same."""
_FOLDERS = (
    "ispyb_working_directory",
    "ispyb_results_directory",
    "ispyb_final_directory",
)
"""They are called after the run."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A run that is asked for."""

    run: str
    recipe: Recipe | str
    """The name of one for those that rules ask for."""
    parameters: Mapping[str, Any]
    urgency: Urgency = "live"
    job: Mapping[str, str] | None = None
    """The parameters of the processing job as which it is recorded, if it is."""


def wanted_runs(
    deployment: Deployment,
    run: str,
    message: Mapping[str, Any],
    parameters: Mapping[str, Any],
    guid: str | None,
) -> list[Wanted]:
    """Return the runs that a filtered message asks for.

    All recipes that it names make one run, as in Zocalo. Where it names none, or one of
    the setting `rules.names`, each recipe of the rules makes a run of its own.

    Args:
        deployment: whose settings hold.
        run: id for the recipes that are named.
        message: as the filters have left it.
        parameters: likewise.
        guid: the id that the client has given; what the rules start is told from it,
            else from the data collection, for which everything starts once.

    Raises:
        UserError: a recipe is not known or not valid; the rules need what is not there.
    """
    settings = deployment.settings
    library = current_library(settings.recipes)
    names = named_recipes(message)
    rules = [n for n in names if n in settings.rules.names and not library.has(n)]
    recipes = [library.find(name) for name in names if name not in rules]
    if message.get("custom_recipe"):
        recipes.append(parse_recipe(message["custom_recipe"], name="custom"))
    wanted = []
    if recipes:
        is_job = any(parameters.get(job) for job in JOBS)
        urgency: Urgency = "reprocessing" if is_job else "live"
        wanted.append(Wanted(run, merge_recipes(recipes), parameters, urgency))
    if rules or not recipes:
        ruled = list(ruled_runs(deployment, parameters, guid))
        if not ruled:
            told = (parameters.get("ispyb_dcid"), parameters.get(EVENT))
            logger.info("Data collection %s, %s: no rule asks for anything", *told)
        wanted += ruled
    return wanted


def start_all(app: Celery, deployment: Deployment, wanted: list[Wanted]) -> None:
    """Start what has not been started; what is not possible is told at the end.

    Raises:
        UserError: of one run or of several; all others have been started.
    """
    library = current_library(deployment.settings.recipes)
    problems = []
    for one in wanted:
        try:
            start_wanted(app, deployment, library, one)
        except ServerUnreachableError:
            raise
        except UserError as error:
            problems.append(error)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise ParameterError("; ".join(map(str, problems)))


def start_wanted(
    app: Celery, deployment: Deployment, library: RecipeLibrary, wanted: Wanted
) -> None:
    """Start a run unless it has been started; finish what was started half.

    Raises:
        UserError: recipe or parameters cannot be used, or the run of another recipe
            has the id.
    """
    with alone(deployment, f"run:{wanted.run}"), log_context(run=wanted.run):
        recipe = wanted.recipe
        recipe = library.find(recipe) if isinstance(recipe, str) else recipe
        if is_started(app, deployment, wanted.run):
            _refuse_other(deployment, wanted.run, recipe)
            logger.info("Run %s is there already", wanted.run)
            return
        catalogue = load_catalogue(deployment.settings.queues)
        parameters = wanted.parameters
        prepared = prepare(recipe, parameters, catalogue)
        if wanted.job is not None:
            parameters = record_job(wanted.run, recipe.name, parameters, wanted.job)
            prepared = prepare(recipe, parameters, catalogue)
        for note in ignored_parameters(prepared, catalogue):
            logger.warning("Recipe %r: %s", prepared.name, note)
        launch(
            prepared,
            parameters,
            run_id=wanted.run,
            urgency=wanted.urgency,
            template=recipe,
        )
        logger.info("Started run %s of %s", wanted.run, recipe.name)


@contextmanager
def alone(
    deployment: Deployment, name: str, patience: float = PATIENCE
) -> Iterator[None]:
    """Let no other bridge, nor another thread of this one, do the same meanwhile.

    Raises:
        TemporaryError: another has not ended after `patience` s.
    """
    give_up = time.monotonic() + patience
    leases = deployment.store.leases
    while True:
        with leases.hold(f"bridge:{name}", LEASE_SECONDS) as held:
            if held:
                yield
                return
        if time.monotonic() > give_up:
            raise TemporaryError(f"another bridge deals with {name}")
        time.sleep(0.02)


def is_started(app: Celery, deployment: Deployment, run: str) -> bool:
    """Whether a run is there; one whose submitter died half way is published now."""
    state = deployment.store.state(run)
    if state is None:
        return deployment.history.find_run(run) is not None
    if state == "submitting":
        begin_run(get_context(app, run))
    return True


def _refuse_other(deployment: Deployment, run: str, recipe: Recipe) -> None:
    known = deployment.history.find_run(run)
    if known is not None and known["recipe"] != recipe.name:
        raise ParameterError(
            f"the id {run!r} is taken by a run of {known['recipe']!r}, this is "
            f"{recipe.name!r}"
        )


def ruled_runs(
    deployment: Deployment, parameters: Mapping[str, Any], guid: str | None
) -> Iterator[Wanted]:
    """Yield the runs that the rules ask for; see `wanted_runs`."""
    scenario = find_scenario(parameters)
    decisions = decide(load_rules(deployment.settings.rules), scenario)
    for invocation in (i for decision in decisions for i in decision.invocations):
        run = invocation.run_id(scenario, guid)
        values = {**_of_run(parameters, run), **invocation.parameters}
        job = invocation.job
        yield Wanted(run, invocation.recipe, values, invocation.urgency, job)


def _of_run(parameters: Mapping[str, Any], run: str) -> dict[str, Any]:
    """Return what was looked up with the run's id instead of the request's."""
    request = str(parameters.get("guid") or "")
    values = {k: v for k, v in parameters.items() if k != EVENT}
    for name in _FOLDERS:
        folder = values.get(name)
        if isinstance(folder, str) and request:
            values[name] = folder.replace(request, run)
    info = values.get("ispyb_dc_info")
    if isinstance(info, Mapping):
        values["ispyb_dc_info"] = {**info, "uuid": run}
    return {**values, "guid": run}
