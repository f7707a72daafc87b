"""Submission: a recipe and its parameters become a run."""

import logging
from collections.abc import Container, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from celery import Celery
from kombu import Connection
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import RedisError

from zocelery import identity, queues
from zocelery.catalogue import Catalogue
from zocelery.context import RunContext
from zocelery.deployment import Deployment, current_deployment, without_password
from zocelery.errors import (
    ParameterError,
    RecipeError,
    ServerUnreachableError,
    ZoceleryError,
)
from zocelery.parameters import fill_in, plain_parameters
from zocelery.plan import Plan
from zocelery.publication import begin_run
from zocelery.recipe import Recipe
from zocelery.recipe_checks import check_recipe
from zocelery.recipe_format import parse_recipe
from zocelery.recipe_library import RecipeLibrary, current_library
from zocelery.recipe_notes import ignored_parameters
from zocelery.registry import load_catalogue
from zocelery.run import Run, find_run
from zocelery.settings import current_settings
from zocelery.versions import MESSAGE_VERSION

logger = logging.getLogger(__name__)

NOWHERE = "nowhere"
"""A routing key that leads to no queue: the broker drops what is published to it."""
Urgency = Literal["live", "reprocessing"]
RecipeLike = Recipe | Mapping[str, Any] | str | Path
"""A recipe, its JSON object, its name in the library, or the path of its file."""


def submit(
    recipe: RecipeLike | None = None,
    parameters: Mapping[str, Any] | None = None,
    *,
    dcid: int | None = None,
    job: int | None = None,
    run_id: str | None = None,
    urgency: Urgency = "live",
    deadline: float | None = None,
) -> Run:
    """Start a run of `recipe` on the deployment of the configuration.

    Args:
        recipe: what to run; see `RecipeLike`. By default what `job` asks for.
        parameters: what fills its placeholders; `guid` gives the run its id.
        dcid: data collection of the LIMS, whose parameters `ispyb_...` fill the recipe
            where `parameters` says nothing, as `zocelery submit RECIPE DCID` does.
        job: processing job of the LIMS, likewise.
        run_id: the run's id; a run with this id that exists is returned as it is.
        urgency: "live" overtakes "reprocessing" in the queue of images.
        deadline: seconds after which a run that has not ended has failed; by default
            the setting `run.deadline`.

    Returns:
        A handle to wait for the run, to follow and to cancel it.

    Raises:
        UserError: recipe, parameters or files cannot be used, a server does not
            answer; nothing was started.
    """
    given: Mapping[str, Any] = parameters or {}
    if dcid is not None or job is not None:
        # Imported here: most submissions ask no LIMS.
        from zocelery.lims.known import known_parameters

        names = recipe is not None
        given, asked = known_parameters(
            given, dcid=dcid, job=job, run_id=run_id, names_recipe=names
        )
        recipe = recipe if names else asked
    if recipe is None:
        raise RecipeError("no recipe is named, nor a job that names one")
    settings = current_settings()
    catalogue = load_catalogue(settings.queues)
    found = resolve_recipe(recipe, current_library(settings.recipes))
    prepared = prepare(found, given, catalogue)
    for note in ignored_parameters(prepared, catalogue):
        logger.warning("Recipe %r: %s", prepared.name, note)
    return launch(
        prepared,
        given,
        run_id=run_id,
        urgency=urgency,
        deadline=deadline,
        template=found,
    )


def launch(
    prepared: Recipe,
    parameters: Mapping[str, Any],
    *,
    run_id: str | None = None,
    urgency: Urgency = "live",
    deadline: float | None = None,
    template: Recipe | None = None,
    rerun: Mapping[str, Any] | None = None,
    served: Mapping[str, Any] | None = None,
) -> Run:
    """Start a run of a recipe that `prepare` has returned; else as `submit`.

    Args:
        prepared: the recipe with its parameters filled in.
        parameters: what has filled it.
        run_id: the run's id.
        urgency: "live" overtakes "reprocessing" in the queue of images.
        deadline: seconds after which a run that has not ended has failed.
        template: the recipe before it was filled in, for re-runs with others.
        rerun: what is reused of which other run; see `zocelery.rerunning`.
        served: the recipe of somebody else of which this is one node, with which
            messages to others go on; see `zocelery.serving`.
    """
    from zocelery.celery import app

    deployment = current_deployment()
    run = run_id or str(parameters.get("guid") or identity.new_run_id())
    identity.check_run_id(run)
    check_servers(app, deployment)
    record = {
        "version": MESSAGE_VERSION,
        "recipe": prepared.model_dump(mode="json"),
        "template": template.model_dump(mode="json") if template else None,
        "parameters": dict(parameters),
        "priority": getattr(deployment.settings.priority, urgency),
    }
    seconds = deadline or deployment.settings.run.deadline
    if seconds:
        record["deadline"] = seconds
    if rerun:
        record["rerun"] = dict(rerun)
    if served:
        record["served"] = dict(served)
    catalogue = load_catalogue(deployment.settings.queues)
    return start_run(app, deployment, catalogue, run, record)


def open_run(run: str) -> Run:
    """Return the run whose id is `run` or begins with it, to follow or cancel it.

    Raises:
        UnknownRunError: there is none, or more than one.
    """
    return find_run(run, current_deployment())


def resolve_recipe(recipe: RecipeLike, library: RecipeLibrary) -> Recipe:
    """Return the recipe that is meant; see `RecipeLike`."""
    if isinstance(recipe, Recipe):
        return recipe
    if isinstance(recipe, Mapping):
        return parse_recipe(recipe, name="custom")
    return library.find_or_load(recipe)


def prepare(
    recipe: Recipe, parameters: Mapping[str, Any], catalogue: Catalogue
) -> Recipe:
    """Fill in the parameters and look for every mistake that can be found now.

    Raises:
        UserError: names the recipe, the node, the key and the value.
    """
    check_recipe(recipe, catalogue)
    filled = fill_in(recipe, plain_parameters(parameters))
    check_recipe(filled, catalogue)
    check_nodes(Plan(filled, catalogue))
    return filled


def check_nodes(plan: Plan, nodes: Container[str] | None = None) -> None:
    """Let the tasks of `nodes`, by default of all, look at their parameters.

    Raises:
        UserError: a file is not there, a value cannot be used.
    """
    for node in plan.recipe:
        spec = plan.spec(node.name)
        wanted = nodes is None or node.name in nodes
        if wanted and spec is not None and spec.check is not None:
            spec.check(spec.given_by(node))


def check_servers(app: Celery, deployment: Deployment) -> None:
    """Raise ServerUnreachableError if broker, Redis or history do not answer."""
    settings = deployment.settings.broker
    kind = "Redis" if settings.is_redis else "RabbitMQ"
    patience: dict[str, Any] = {
        "timeout": settings.connect_timeout,  # it may be coming up
        "interval_start": 0.2,
        "interval_step": 0.2,
        "interval_max": 1.0,
    }
    try:
        with app.connection_for_write(
            connect_timeout=settings.connect_timeout
        ) as connection:
            connection.ensure_connection(**patience)
            if not settings.is_redis:
                _check_takes_messages(connection, settings.connect_timeout)
    except (BrokerError, OSError) as error:
        raise ServerUnreachableError(
            f"cannot reach {kind} at {without_password(settings.url)}: {error}"
        ) from error
    deployment.check_store()
    _ = deployment.history


def _check_takes_messages(connection: Connection, seconds: float) -> None:
    """Publish a message that goes nowhere, and wait for the word that it was taken.

    A broker whose memory or disk is full lets everybody connect, and then reads nothing
    behind the head of the first message: there is no other way to know.

    Raises:
        TimeoutError: it was not taken within `seconds`.
    """
    try:
        connection.Producer().publish(
            b"?", NOWHERE, exchange=queues.EXCHANGE, confirm_timeout=seconds
        )
    except connection.channel_errors:  # no such exchange yet, or not ours: it answers
        return
    except TimeoutError as error:
        connection.collect()  # it would not hear that it is closed
        raise TimeoutError(
            f"it has taken no message for {seconds:g} s; is its memory or disk full?"
        ) from error


def start_run(
    app: Celery,
    deployment: Deployment,
    catalogue: Catalogue,
    run: str,
    record: Mapping[str, Any],
) -> Run:
    """Store the run and publish its canvas; the second time for an id does nothing."""
    store = deployment.store
    if _is_past(deployment, run, record):
        return Run(run, deployment)
    context = RunContext(app, deployment, catalogue, run, record)
    fresh = store.create_run(run, record, deployment.settings.redis.gather_expires)
    if not fresh:
        if store.recipe_record(run) != record:
            raise ParameterError(f"run id {run!r} is taken by another run")
        if store.state(run) != "submitting":
            return Run(run, deployment)
    try:
        begin_run(context)
    except Exception:
        if fresh:
            _withdraw(deployment, run)
        raise
    return Run(run, deployment)


def _is_past(deployment: Deployment, run: str, record: Mapping[str, Any]) -> bool:
    """Whether the run is in the history and its live state has expired, or is lost.

    Raises:
        ParameterError: another run with the same id is.
    """
    if deployment.store.state(run) is not None:
        return False
    known = deployment.history.find_run(run)
    if known is not None and known["document"] != record["recipe"]:
        raise ParameterError(f"run id {run!r} is taken by another run")
    return known is not None


def _withdraw(deployment: Deployment, run: str) -> None:
    """Forget a run whose submitter is told that nothing was started.

    Otherwise the janitor would start it after all. What has been published finds no
    recipe and is parked.
    """
    with suppress(ZoceleryError, RedisError):
        deployment.store.forget_run(run)
        deployment.history.delete_run(run)
