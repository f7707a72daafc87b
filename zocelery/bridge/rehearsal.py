"""Rehearsal: the bridge does once, before it is ready, what its first message needs.

Definitions of the LIMS's tables, connections, queries and recipes are loaded or opened
when they are first used: together more than a second, which a beamline would wait for.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError as BrokerError
from redis.exceptions import RedisError
from sqlalchemy import Connection, Select, func, select

from zocelery import identity
from zocelery.bridge.hooks import load_hooks
from zocelery.bridge.start import Wanted, ruled_runs
from zocelery.canvas import RUN_ITSELF, Canvas
from zocelery.deployment import Deployment
from zocelery.errors import UserError, ZoceleryError
from zocelery.lims.current import current_abilities, current_lims, has_lims
from zocelery.lims.lookup import DCID, look_up_current
from zocelery.lims.tables import all_tables, table
from zocelery.plan import Plan
from zocelery.recipe_library import current_library
from zocelery.registry import load_catalogue
from zocelery.rules.decision import load_rules
from zocelery.rules.scenario import EVENT, EVENTS
from zocelery.submission import check_servers, prepare

logger = logging.getLogger(__name__)
LONGEST_SECONDS = 30.0
"""A server or disk that hangs holds the bridge up no longer."""
_AWAY = (ZoceleryError, RedisError, BrokerError, OSError)


def rehearse(app: Celery, deployment: Deployment) -> None:
    """Do all that a message needs, for the newest data collections; start nothing.

    What is away is told and left to the messages, which wait for it.
    """
    done = threading.Event()

    def _rehearse() -> None:
        for part in (_load, _open_servers, _open_lims, _start_nothing):
            _try_to(part, app, deployment)
        done.set()

    threading.Thread(target=_rehearse, name="rehearsal", daemon=True).start()
    if not done.wait(LONGEST_SECONDS):
        logger.warning("Not rehearsed in %g s: something hangs", LONGEST_SECONDS)


def _try_to(
    part: Callable[[Celery, Deployment], None], app: Celery, deployment: Deployment
) -> None:
    try:
        part(app, deployment)
    except _AWAY as error:
        logger.warning("The first messages may take longer: %s", error)
    except Exception:  # a rule's or a driver's: its message will tell it, too
        logger.exception("The first messages may take longer")


def _load(app: Celery, deployment: Deployment) -> None:
    del app
    load_catalogue(deployment.settings.queues)
    load_rules(deployment.settings.rules)
    load_hooks()
    if has_lims(deployment.settings.lims):
        all_tables()


def _open_servers(app: Celery, deployment: Deployment) -> None:
    """Connect, and ask for a run that is not there."""
    check_servers(app, deployment)
    nobody = identity.new_run_id()
    deployment.store.state(nobody)
    deployment.history.find_run(nobody)
    with app.producer_pool.acquire(block=True) as producer:
        _ = producer.channel


def _open_lims(app: Celery, deployment: Deployment) -> None:
    del app
    if has_lims(deployment.settings.lims):
        current_abilities(current_lims())


def _start_nothing(app: Celery, deployment: Deployment) -> None:
    """Look up the newest data collections and translate what they would run."""
    if not has_lims(deployment.settings.lims):
        return
    for dcid in sorted(set(_newest_collections())):
        run = identity.new_run_id()
        known = look_up_current({DCID: dcid, "guid": run}).parameters
        for event in EVENTS:
            for wanted in ruled_runs(deployment, {**known, EVENT: event}, run):
                with suppress(UserError):  # files that are gone, folders of others
                    _translate(app, deployment, wanted)


def _newest_collections() -> Iterator[int]:
    """Yield the newest data collection, and the newest that is a grid."""
    lims = current_lims()
    abilities = current_abilities(lims)
    for name in ("DataCollection", "GridInfo"):
        if abilities.may("select", name, ("dataCollectionId",)):
            newest = select(func.max(table(name).c.dataCollectionId))
            dcid = lims.read(partial(_scalar, newest))
            if dcid is not None:
                yield int(dcid)


def _scalar(query: Select[Any], connection: Connection) -> Any:
    return connection.execute(query).scalar()


def _translate(app: Celery, deployment: Deployment, wanted: Wanted) -> None:
    """Make the messages that would start a run, and send none."""
    library = current_library(deployment.settings.recipes)
    catalogue = load_catalogue(deployment.settings.queues)
    recipe = library.find(str(wanted.recipe))
    plan = Plan(prepare(recipe, wanted.parameters, catalogue), catalogue)
    priority = getattr(deployment.settings.priority, wanted.urgency)
    canvas = Canvas(app, wanted.run, plan, deployment.store, priority)
    for index, start in enumerate(plan.recipe.start):
        unit = identity.start_unit(wanted.run, index)
        canvas.node(start.node, unit, start.payload, RUN_ITSELF)
