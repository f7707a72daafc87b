"""Retention: what is kept of old runs, and for how long.

A run is forgotten with all that belongs to it: its folders, what is left of it in
Redis, its rows in the history. Dead letters are never deleted: those of a forgotten run
are named, and wait for `zocelery dlq` as before.
"""

import logging
import shutil
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from celery import Celery

from zocelery import long_row, watch_row
from zocelery.dead_letter_box import alone, open_box
from zocelery.deployment import Deployment
from zocelery.errors import TemporaryError
from zocelery.leases import PREFIX
from zocelery.queues import QUEUE_NAMES
from zocelery.recipe import Frozen
from zocelery.run import ENDED
from zocelery.store import RunStore

logger = logging.getLogger(__name__)
DAY = 86400.0
LAST_PRUNED = PREFIX + "pruned"
"""There for a day after the janitor has pruned."""
_AGAIN_SECONDS = 3600
_PATIENCE = 10.0


class Pruned(Frozen):
    """One run that was forgotten, or would be."""

    run: str
    recipe: str
    state: str
    submitted: float
    """Unix time, s."""
    ended: float | None
    folders: tuple[Path, ...]
    """Working folders of its programs, on this machine."""
    dead_letters: tuple[str, ...]
    """Its dead letters, as `dlq.QUEUE ID`; they stay where they are."""


def prune(
    app: Celery, deployment: Deployment, days: float, *, dry_run: bool = False
) -> Iterator[Pruned]:
    """Forget the runs that ended more than `days` ago; yield each when it is forgotten.

    A run stays as long as it has live state that says it goes on, and as long as a
    re-run of it is kept, whose answers may name files in its folders. Doing it again,
    or two at once, does no harm.

    Raises:
        TemporaryError: dead letters cannot be looked at, or a folder cannot be removed.
    """
    rows = _old_runs(deployment, time.time() - days * DAY)
    if not rows:
        return
    letters = _dead_letters(app, deployment.store, {row["run"] for row in rows})
    for row in rows:
        found = Pruned(
            **{name: row[name] for name in ("run", "recipe", "state")},
            submitted=row["submitted"],
            ended=row["ended"],
            folders=tuple(_working_folders(deployment, row["run"])),
            dead_letters=tuple(letters.get(row["run"], ())),
        )
        if not dry_run:
            _forget(deployment, found)
        yield found
    if not dry_run:
        _remove_leftovers(deployment.store, {row["run"] for row in rows})


def prune_if_due(app: Celery, deployment: Deployment) -> threading.Thread | None:
    """Begin to prune in a thread, once a day, if the configuration asks for it."""
    days = deployment.settings.run.retention
    if not days or not deployment.store.client.set(
        LAST_PRUNED, "1", nx=True, ex=int(DAY)
    ):
        return None
    thread = threading.Thread(
        target=_prune_quietly, args=(app, deployment, days), daemon=True
    )
    thread.start()
    return thread


def _prune_quietly(app: Celery, deployment: Deployment, days: float) -> None:
    try:
        for found in prune(app, deployment, days):
            logger.info("Pruned run %s", found.run)
            for letter in found.dead_letters:
                logger.warning("A dead letter of run %s stays: %s", found.run, letter)
    except Exception:
        logger.exception("Pruning broke off; it goes on in an hour")
        deployment.store.client.expire(LAST_PRUNED, _AGAIN_SECONDS)


def _old_runs(deployment: Deployment, before: float) -> list[Mapping[str, Any]]:
    """Return the rows of the runs that may go, oldest first."""
    history, store = deployment.history, deployment.store
    rows = {
        row["run"]: row
        for row in history.runs_before(before)
        if store.state(row["run"]) in (None, *ENDED)
    }
    links = history.rerun_links()
    needed = {of for run, of in links.items() if run not in rows}
    while needed & rows.keys():
        kept = [run for run in needed if rows.pop(run, None) is not None]
        needed = {links[run] for run in kept if run in links}
    return list(rows.values())


def _dead_letters(
    app: Celery, store: RunStore, runs: Collection[str]
) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for queue in QUEUE_NAMES:
        with alone(store, queue, _PATIENCE) as ours, open_box(app, queue) as box:
            if not ours:
                raise TemporaryError(f"dlq.{queue} is held by another command")
            if box.count() is None:
                continue
            for held in box.letters():
                run = held.letter.run or ""
                if run in runs:
                    found.setdefault(run, []).append(f"dlq.{queue} {held.letter.id}")
    return found


def _working_folders(deployment: Deployment, run: str) -> Iterator[Path]:
    """Yield the folders that were made for a run and are on this machine.

    Only those below the configured working directory, named after the run: what a
    recipe has put elsewhere is its owner's affair.
    """
    base = deployment.settings.wrappers.working_directory
    candidates = {(base / run).absolute(): None}
    for program in deployment.history.run_programs(run):
        for folder in Path(program["folder"] or "/").parents:
            inside = folder.parts[-len(base.parts) - 1 : -1] == base.parts
            if folder.name == run and inside:
                candidates[folder] = None
    yield from (f for f in candidates if f.is_dir() and not f.is_symlink())


def _forget(deployment: Deployment, found: Pruned) -> None:
    for folder in found.folders:
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            continue  # somebody else prunes as well
        except OSError as error:
            raise TemporaryError(
                f"run {found.run}: {folder} cannot be removed: {error}"
            ) from error
    deployment.store.forget_run(found.run)
    deployment.history.delete_run(found.run)


def _remove_leftovers(store: RunStore, runs: Collection[str]) -> None:
    """Remove what is left in Redis of runs beside their own keys."""
    for rows, loads in (
        (watch_row.ROWS, watch_row.WatchRow.load),
        (long_row.ROWS, long_row.LongRow.load),
    ):
        for unit, text in store.client.hgetall(rows).items():
            if loads(text).run in runs:
                store.client.hdel(rows, unit)
    for key in store.client.scan_iter(f"{PREFIX}run:*", count=1000):
        if key.split(":")[2] in runs:
            store.client.delete(key)
