"""Hit rates of serial crystallography: while the images come, and at the end.

An image is a hit if it has enough spots. Images that were dropped because no worker was
idle are no part of the rate: what was analysed stands for them.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from zocelery.catalogue import TaskKind
from zocelery.errors import PermanentError
from zocelery.messages import Member, Step
from zocelery.records import SHED
from zocelery.task import recipe_task

TALLY, ORDER = "tally", "tally-order"
"""The parts of a run's live state with its counts, and with those at each image."""
_COUNT = """
local known = redis.call('HGET', KEYS[2], ARGV[1])
if known then return known end
local told = redis.call('HINCRBY', KEYS[1], ARGV[2] .. ':images', 1) .. ' '
  .. redis.call('HINCRBY', KEYS[1], ARGV[2] .. ':hits', ARGV[3]) .. ' '
  .. redis.call('HINCRBY', KEYS[1], ARGV[2] .. ':indexed', ARGV[4])
redis.call('HSET', KEYS[2], ARGV[1], told)
redis.call('SADD', KEYS[3], ARGV[5], ARGV[6])
return told
"""
"""Counts an image once; one that comes again is told what it was told before."""


class HitParameters(BaseModel):
    """Parameters of `count_hits` and `hit_summary`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    every: int = Field(default=100, ge=1)
    """`count_hits` reports after so many images."""
    least_spots: int = Field(default=15, ge=1)
    """Spots that make an image a hit."""
    spots: str = "n_spots_total"
    """The key of the payload that says how many an image has."""


class HitsOfBeamline(BaseModel):
    """Parameters of `publish_hits`; further ones go with the message."""

    model_config = ConfigDict(frozen=True, extra="allow")

    beamline: str
    dcid: int | None = None


class HitsInLims(BaseModel):
    """Parameters of `store_hits`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    dcid: int
    program: str = "zocelery hit rate"
    """What the program is called in the LIMS."""
    recipe: str = "ssx"
    """The recipe of its processing job."""


@recipe_task("count_hits", once=("report",), parameters=HitParameters)
def count_hits(step: Step) -> None:
    """Count an image, and report on the channel `report` after every N of them."""
    given = HitParameters.model_validate(step.parameters)
    images, hits, indexed = _count(step, given)
    if images % given.every == 0:
        report = describe(images, hits, indexed)
        step.send("report", report)
        _show(step, in_words(report))


@recipe_task("hit_summary", kind=TaskKind.GATHER, parameters=HitParameters)
def hit_summary(step: Step) -> dict[str, Any]:
    """Say how many images were hits, and how many were dropped or could not be read."""
    return summarise(step.members, HitParameters.model_validate(step.parameters))


@recipe_task("publish_hits", parameters=HitsOfBeamline)
def publish_hits(step: Step) -> dict[str, Any]:
    """Tell a beamline's software a hit rate, once."""
    from zocelery_tasks.beamline_messages import publish_to_beamline

    given = HitsOfBeamline.model_validate(step.parameters)
    return publish_to_beamline(
        step, given.beamline, given.model_dump(exclude={"beamline"})
    )


@recipe_task("store_hits", queue="lims", parameters=HitsInLims)
def store_hits(step: Step) -> dict[str, Any]:
    """Show a hit rate in the LIMS: as what a program of its own has to say."""
    from zocelery_tasks.lims_connector import show_program

    given = HitsInLims.model_validate(step.parameters)
    report = step.payload
    if not isinstance(report, Mapping) or "hits" not in report:
        raise PermanentError("store_hits: the payload is no hit rate")
    ended = "failed" in report
    return show_program(
        step,
        (given.dcid, given.recipe, given.program),
        message=in_words(report),
        status="success" if ended else "running",
    )


def is_hit(value: Any, given: HitParameters) -> bool:
    """Whether an image has enough spots.

    Raises:
        PermanentError: the payload does not say how many it has.
    """
    found = value.get(given.spots) if isinstance(value, Mapping) else None
    if not isinstance(found, int | float):
        raise PermanentError(f"the payload has no number {given.spots!r}")
    return found >= given.least_spots


def describe(images: int, hits: int, indexed: int = 0) -> dict[str, Any]:
    """Return a report: counts, the rate in %, when."""
    return {
        "images": images,
        "hits": hits,
        "indexed": indexed,
        "hit_rate": round(100 * hits / images, 2) if images else 0.0,
        "time": datetime.now().astimezone().isoformat(timespec="milliseconds"),
    }


def in_words(report: Mapping[str, Any]) -> str:
    """Return a report as a text for people."""
    rate = f"{report['hit_rate']:.1f} %"
    parts = [f"{report['hits']} hits in {report['images']} images ({rate})"]
    if report.get("indexed"):
        parts.append(f"{report['indexed']} indexed")
    if report.get("shed"):
        parts.append(f"{report['shed']} images not analysed")
    if report.get("failed"):
        parts.append(f"{len(report['failed'])} not readable")
    return ", ".join(parts)


def summarise(members: Iterable[Member], given: HitParameters) -> dict[str, Any]:
    """Return the final report; `failed` names the images that could not be analysed."""
    images = hits = indexed = shed = 0
    failed = []
    for member in members:
        if member.ok:
            images += 1
            hits += is_hit(member.value, given)
            indexed += bool(member.value.get("n_lattices"))
        elif member.error == SHED:
            shed += 1
        else:
            failed.append({"item": member.item, "error": member.error})
    return {**describe(images, hits, indexed), "shed": shed, "failed": failed}


def _show(step: Step, text: str) -> None:
    """Show a text beside the node while its run goes on."""
    from zocelery.deployment import current_deployment

    store = current_deployment().store
    store.note_progress(step.run_id, step.node, {"message": text})


def _count(step: Step, given: HitParameters) -> tuple[int, int, int]:
    """Return how many images, hits and indexed ones there were with this one."""
    from zocelery.deployment import current_deployment
    from zocelery.store import run_key

    hit = is_hit(step.payload, given)
    indexed = bool(step.payload.get("n_lattices"))
    keys = [run_key(step.run_id, part) for part in (TALLY, ORDER, "names")]
    script = current_deployment().store.client.register_script(_COUNT)
    unit = f"{step.node}:{step.unit}"
    told = script(keys, [unit, step.node, int(hit), int(indexed), TALLY, ORDER])
    images, hits, with_lattice = map(int, str(told).split())
    return images, hits, with_lattice
