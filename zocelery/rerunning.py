"""Re-runs: a new run that takes over what another has done, and does the rest.

docs/decisions/0010-re-runs.md says what is reused and why.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from zocelery import identity
from zocelery.catalogue import Catalogue
from zocelery.deployment import Deployment, current_deployment
from zocelery.errors import ParameterError
from zocelery.history_tables import SCHEMA_VERSION
from zocelery.parameters import fill_in
from zocelery.plan import SPLIT_SUFFIX, Plan, expand_foreach
from zocelery.recipe import Recipe
from zocelery.recipe_checks import check_recipe
from zocelery.recipe_library import current_library
from zocelery.registry import load_catalogue
from zocelery.rerun_plan import Past, RerunPlan
from zocelery.run import ENDED, Run
from zocelery.submission import Urgency, check_nodes, launch
from zocelery.unfinished import LOST

_PLAIN_KEYS = {"description", "spelling", "retry", "timeout", "deadline"}
"""A node's keys that change nothing about its answer."""


@dataclass(frozen=True)
class Rerun:
    """A re-run that has been worked out and not been started."""

    of: str
    """Id of the run before."""
    recipe: Recipe
    template: Recipe | None
    parameters: Mapping[str, Any]
    reused: tuple[str, ...]
    """The nodes whose answers are taken over."""
    again: tuple[str, ...]
    """The nodes that run again, as far as the recipe leads to them."""
    plan: RerunPlan

    def start(self, run_id: str | None = None, urgency: Urgency = "live") -> Run:
        """Start it; the second time for an id does nothing.

        Raises:
            UserError: a server does not answer, or the id is taken.
        """
        run = identity.check_run_id(run_id or identity.new_run_id())
        rerun = {
            "of": self.of,
            "nodes": list(self.reused),
            "again": list(self.again),
            "units": self.plan.units(run),
        }
        return launch(
            self.recipe,
            self.parameters,
            run_id=run,
            urgency=urgency,
            template=self.template,
            rerun=rerun,
        )


def rerun(
    run: str,
    *,
    failed: bool = False,
    from_nodes: Collection[str] = (),
    parameters: Mapping[str, Any] | None = None,
    run_id: str | None = None,
    urgency: Urgency = "live",
) -> Run:
    """Run a run again, as a new one that is linked to it.

    Args:
        run: its id, or the start of it.
        failed: run only what did not finish, and what follows it.
        from_nodes: run these nodes and what follows them again.
        parameters: parameters with other values than before: nodes that they change,
            and what follows these, run again.
        run_id: the id of the new run.
        urgency: "live" overtakes "reprocessing" in the queue of images.

    With none of the three everything is run again.

    Raises:
        UserError: there is no such run or node, the run has not ended, nothing of it
            would be run again, or a server does not answer.
    """
    planned = plan_rerun(
        run, failed=failed, from_nodes=from_nodes, parameters=parameters
    )
    return planned.start(run_id, urgency)


def plan_rerun(
    run: str,
    *,
    failed: bool = False,
    from_nodes: Collection[str] = (),
    parameters: Mapping[str, Any] | None = None,
) -> Rerun:
    """Work out what a re-run would reuse and what it would do; else as `rerun`."""
    deployment = current_deployment()
    catalogue = load_catalogue(deployment.settings.queues)
    row = _ended_run(run, deployment)
    before = Recipe.restore(row["document"])
    template, recipe = _recipe(row, before, parameters or {}, catalogue)
    check_recipe(recipe, catalogue)
    plan = Plan(recipe, catalogue)
    if failed or from_nodes or parameters:
        wanted = {*_named(plan, from_nodes), *_changed(before, plan)}
    else:
        wanted = set(plan.recipe.nodes)
    worked_out = RerunPlan(plan, _past(row, deployment), wanted)
    if not worked_out.again and row["state"] == "finished":
        raise ParameterError(
            f"run {row['run']}: nothing of it would be run again; --from NODE says "
            "what shall be, members of fan-outs that failed included"
        )
    check_nodes(plan, worked_out.again)
    return Rerun(
        of=row["run"],
        recipe=recipe,
        template=template,
        parameters={**row["parameters"], **(parameters or {})},
        reused=worked_out.reused,
        again=tuple(n for n in plan.recipe.nodes if n in worked_out.again),
        plan=worked_out,
    )


def _ended_run(run: str, deployment: Deployment) -> dict[str, Any]:
    """Return the row of a run, which has ended or is lost."""
    history = deployment.history
    row = history.run(run)
    if row["version"] > SCHEMA_VERSION:
        raise ParameterError(
            f"run {row['run']} was made by a newer zocelery (history version "
            f"{row['version']}, this one reads up to {SCHEMA_VERSION})"
        )
    state = Run(row["run"], deployment).state
    if state not in ENDED:
        raise ParameterError(
            f"run {row['run']} is {state}: wait for its end, or cancel it"
        )
    if row["state"] not in ENDED and deployment.store.state(row["run"]) is None:
        history.end_run(row["run"], "failed", LOST, {})
    return row


def _past(row: Mapping[str, Any], deployment: Deployment) -> Past:
    units, store = deployment.history.run_nodes(row["run"]), deployment.store
    # what late tasks count after Redis has lost its data is not the whole
    live = store.counts(row["run"]) if store.state(row["run"]) else {}
    return Past(
        run=row["run"],
        units={unit["unit"]: unit for unit in units},
        counts=row["counts"] or live,
        reused=frozenset(row["reused"] or ()),
    )


def _recipe(
    row: Mapping[str, Any],
    before: Recipe,
    changes: Mapping[str, Any],
    catalogue: Catalogue,
) -> tuple[Recipe | None, Recipe]:
    """Return the recipe with its placeholders, if it is known, and filled in."""
    template = row["template"] and Recipe.restore(row["template"])
    if not changes:
        return template, before
    template = template or _from_library(row, before)
    check_recipe(template, catalogue)
    return template, fill_in(template, {**row["parameters"], **changes})


def _from_library(row: Mapping[str, Any], before: Recipe) -> Recipe:
    """Return the recipe of a run that has not kept it, if it is still the same.

    Raises:
        ParameterError: it is not.
    """
    library = current_library(current_deployment().settings.recipes)
    found = library.find_or_load(row["recipe"])
    if _nodes(fill_in(found, row["parameters"])) != _nodes(before):
        raise ParameterError(
            f"run {row['run']} has not kept its recipe, and {row['recipe']!r} has "
            "changed since: its parameters cannot be changed"
        )
    return found


def _named(plan: Plan, names: Collection[str]) -> Iterator[str]:
    for name in names:
        if name not in plan.recipe.nodes:
            known = [n for n in plan.recipe.nodes if not n.endswith(SPLIT_SUFFIX)]
            raise ParameterError(
                f"recipe {plan.recipe.name!r} has no node {name!r} "
                f"(it has {', '.join(known)})"
            )
        yield name


def _changed(before: Recipe, plan: Plan) -> Iterator[str]:
    """Yield the nodes that other parameters have changed, starts included."""
    old, new = _nodes(before), _nodes(plan.recipe)
    yield from (name for name in new if new[name] != old.get(name))
    starts = expand_foreach(before).start
    for index, start in enumerate(plan.recipe.start):
        if index >= len(starts) or starts[index] != start:
            yield start.node


def _nodes(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """Return what of each node decides about its answer."""
    return {
        node.name: node.model_dump(mode="json", exclude=_PLAIN_KEYS)
        for node in expand_foreach(recipe)
    }
