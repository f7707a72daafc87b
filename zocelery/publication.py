"""Publication: a stored run enters the history, and its canvas the queues.

All ids follow from the run: publishing again, as after a submitter that was killed half
way, adds what is missing and doubles nothing.
"""

from zocelery import identity
from zocelery.canvas import RUN_ITSELF
from zocelery.context import RunContext
from zocelery.outbox import await_gather


def begin_run(context: RunContext) -> None:
    """Put a run that is stored in Redis into the history and publish it."""
    rerun = context.record.get("rerun") or {}
    context.history.add_run(
        run=context.run,
        template=context.record.get("template"),
        rerun_of=rerun.get("of"),
        reused=rerun.get("nodes"),
        recipe=context.recipe.name,
        document=context.record["recipe"],
        parameters=context.record["parameters"],
        state="running",
        host=identity.host_name(),
        submitted=context.store.submitted(context.run),
    )
    if rerun:
        history, of = context.history, rerun["of"]
        history.copy_units(of, context.run, rerun["units"])
        history.copy_failures(of, context.run, rerun["nodes"])
    publish(context)


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
    for unit, start in starts:
        signature = context.canvas.node(start.node, unit, start.payload, RUN_ITSELF)
        signature.apply_async()
    store.set_running(context.run)
