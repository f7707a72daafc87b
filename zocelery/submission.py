"""Submission: a recipe and its parameters become a run."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from celery import Celery
from kombu.exceptions import OperationalError as BrokerError

from zocelery import identity
from zocelery.canvas import RUN_ITSELF
from zocelery.catalogue import Catalogue
from zocelery.context import RunContext
from zocelery.deployment import Deployment, current_deployment, without_password
from zocelery.errors import ParameterError, ServerUnreachableError
from zocelery.history import SCHEMA_VERSION
from zocelery.outbox import await_gather
from zocelery.parameters import fill_in
from zocelery.plan import Plan
from zocelery.recipe import Recipe
from zocelery.recipe_checks import check_recipe
from zocelery.recipe_format import parse_recipe
from zocelery.recipe_library import RecipeLibrary, current_library
from zocelery.registry import load_catalogue
from zocelery.run import Run, find_run
from zocelery.settings import current_settings

Urgency = Literal["live", "reprocessing"]
RecipeLike = Recipe | Mapping[str, Any] | str | Path
"""A recipe, its JSON object, its name in the library, or the path of its file."""


def submit(
    recipe: RecipeLike,
    parameters: Mapping[str, Any] | None = None,
    *,
    run_id: str | None = None,
    urgency: Urgency = "live",
) -> Run:
    """Start a run of `recipe` on the deployment of the configuration.

    Args:
        recipe: what to run; see `RecipeLike`.
        parameters: what fills its placeholders; `guid` gives the run its id.
        run_id: the run's id; a run with this id that exists is returned as it is.
        urgency: "live" overtakes "reprocessing" in the queue of images.

    Returns:
        A handle to wait for the run, to follow and to cancel it.

    Raises:
        UserError: recipe, parameters or files cannot be used, a server does not
            answer; nothing was started.
    """
    settings = current_settings()
    catalogue = load_catalogue(settings.queues)
    found = resolve_recipe(recipe, current_library(settings.recipes))
    prepared = prepare(found, parameters or {}, catalogue)
    return launch(prepared, parameters or {}, run_id=run_id, urgency=urgency)


def launch(
    prepared: Recipe,
    parameters: Mapping[str, Any],
    *,
    run_id: str | None = None,
    urgency: Urgency = "live",
) -> Run:
    """Start a run of a recipe that `prepare` has returned; else as `submit`."""
    from zocelery.celery import app

    deployment = current_deployment()
    run = run_id or str(parameters.get("guid") or identity.new_run_id())
    identity.check_run_id(run)
    check_servers(app, deployment)
    record = {
        "version": SCHEMA_VERSION,
        "recipe": prepared.model_dump(mode="json"),
        "parameters": dict(parameters),
        "priority": getattr(deployment.settings.priority, urgency),
    }
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
    filled = fill_in(recipe, parameters)
    check_recipe(filled, catalogue)
    plan = Plan(filled, catalogue)
    for node in filled:
        spec = plan.spec(node.name)
        if spec is not None and spec.check is not None:
            spec.check(node.parameters)
    return filled


def check_servers(app: Celery, deployment: Deployment) -> None:
    """Raise ServerUnreachableError if broker, Redis or history do not answer."""
    settings = deployment.settings.broker
    kind = "Redis" if settings.is_redis else "RabbitMQ"
    try:
        with app.connection_for_write(
            connect_timeout=settings.connect_timeout
        ) as connection:
            connection.ensure_connection(
                max_retries=1, timeout=int(settings.connect_timeout) or 1
            )
    except (BrokerError, OSError) as error:
        raise ServerUnreachableError(
            f"cannot reach {kind} at {without_password(settings.url)}: {error}"
        ) from error
    deployment.check_store()
    _ = deployment.history


def start_run(
    app: Celery,
    deployment: Deployment,
    catalogue: Catalogue,
    run: str,
    record: Mapping[str, Any],
) -> Run:
    """Store the run and publish its canvas; the second time for an id does nothing."""
    store = deployment.store
    context = RunContext(app, deployment, catalogue, run, record)
    fresh = store.create_run(run, record, deployment.settings.redis.gather_expires)
    if not fresh:
        if store.recipe_record(run) != record:
            raise ParameterError(f"run id {run!r} is taken by another run")
        if store.state(run) != "submitting":
            return Run(run, deployment)
    deployment.history.add_run(
        run=run,
        recipe=context.recipe.name,
        document=record["recipe"],
        parameters=record["parameters"],
        state="running",
        host=identity.host_name(),
        submitted=time.time(),
    )
    publish(context)
    return Run(run, deployment)


def publish(context: RunContext) -> None:
    """Open everything that the run is known to consist of and publish its starts."""
    store, plan = context.store, context.plan
    for gather in plan.scope_gathers(()):
        await_gather(context, gather, RUN_ITSELF)
    starts = [
        (identity.start_unit(context.run, index), start)
        for index, start in enumerate(plan.recipe.start)
    ]
    for unit, start in starts:
        store.open_units(context.run, start.node, [unit])
    store.await_run(context.run)
    for unit, start in starts:
        signature = context.canvas.node(start.node, unit, start.payload, RUN_ITSELF)
        signature.apply_async()
    store.set_running(context.run)
