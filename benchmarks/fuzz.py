"""`fuzz`: random images, looked at by us and by DIALS, bit for bit."""

import sys
from collections import Counter
from collections.abc import Iterator

import click
import numpy as np

from benchmarks.dials import DIALS_PYTHON, Dials, open_dials
from benchmarks.random_cases import (
    PLANTS,
    Aim,
    RandomCase,
    answer_of_dials,
    our_answer,
    random_case,
    with_plant,
)
from benchmarks.report import Report, progress

SIDES = (7, 1200)
LARGE_SHARE, MEDIUM = 0.1, 200
"""Share of images whose sides go up to the largest, and up to where others' go."""
EDGE_SIDES = (60, 420)
"""Of images with windows on the edge: small ones have too few of these."""
AIMS = {Aim.ANYTHING: 0.6, Aim.EDGE: 0.2, Aim.OVERDISPERSED: 0.2}
"""How many of the cases are aimed at what."""
EVERY = 1000
ABOUT = """\
Images of random size (one in ten with sides up to the largest, others up to 200; their
logarithms are drawn), pixel type, background (mean counts from 0.01 to 5000, even,
overdispersed or striped), spots, hot and overloaded pixels, masks and gaps; mostly with
DIALS's default settings, sometimes with any, sometimes with a gain map. Compared bit
for bit: the indices of the strong pixels, and of the spots the box, size, intensity,
variance, centroid, its variance and peak."""


@click.command("fuzz")
@click.option("--cases", default=1000, show_default=True)
@click.option("--seed", default=1, show_default=True, help="Of the first case.")
@click.option(
    "--largest",
    type=click.IntRange(SIDES[0]),
    default=SIDES[1],
    show_default=True,
    help="Pixels of a side, at most.",
)
@click.option(
    "--aim", type=click.Choice(list(Aim)), help="Of all cases.  [default: they vary]"
)
@click.option(
    "--plant",
    type=click.Choice(list(PLANTS)),
    help="Put this setting a little wrong on our side: mismatches are wanted.",
)
@click.option(
    "--dials-python", default=DIALS_PYTHON, show_default=True, help="That has DIALS."
)
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
def command(
    cases: int,
    seed: int,
    largest: int,
    aim: Aim | None,
    plant: str | None,
    dials_python: str,
    as_json: bool,
) -> None:
    """Compare strong pixels and spots with DIALS on random images.

    Case N of `--seed S` is that of `--cases 1 --seed S+N`, if `--largest` and
    `--aim` are the same.
    Exits with 1 if there was a mismatch and none was wanted.
    """
    report = Report("fuzz", ABOUT, as_json=as_json)
    counts: Counter[str] = Counter()
    with open_dials(dials_python) as dials:
        if dials is None:
            raise click.ClickException(f"{dials_python} has no DIALS to compare with")
        report.remark(f"Beside {dials.version}, which follows rule {dials.rule}.")
        for case in _cases(cases, seed, largest, aim, dials):
            counts.update(_compare(case, dials, plant))
    report.table(
        f"seeds {seed} to {seed + cases - 1}, sides {SIDES[0]} to {largest}"
        + (f", {plant} wrong" if plant else ""),
        [{name: counts[name] for name in _COUNTED}],
    )
    if counts["mismatches"] and not plant:
        sys.exit(1)


_COUNTED = (
    "cases",
    *(str(aim) for aim in Aim),
    "dispersion",
    "dispersion_extended",
    "strong pixels",
    "spots",
    "mismatches",
)


def _cases(
    cases: int, first: int, largest: int, only: Aim | None, dials: Dials
) -> Iterator[RandomCase]:
    for number in range(cases):
        if number and number % EVERY == 0:
            progress(f"{number} of {cases} cases ...")
        seed = first + number
        rng = np.random.default_rng((seed, largest))
        shape, drawn = _shape(rng, largest), _aim(rng)
        aim = drawn if only is None else Aim(only)
        if aim is Aim.EDGE:
            shape = _edge_shape(rng, largest)
        yield random_case(seed, shape=shape, rule=dials.rule, aim=aim)


def _shape(rng: np.random.Generator, largest: int) -> tuple[int, int]:
    """Draw sides that are as often small as large; most images stay cheap."""
    most = largest if rng.random() < LARGE_SHARE else min(largest, MEDIUM)
    low, high = np.log((SIDES[0], most + 1)).tolist()
    slow, fast = np.exp(rng.uniform(low, high, 2))
    return int(slow), int(fast)


def _edge_shape(rng: np.random.Generator, largest: int) -> tuple[int, int]:
    """Draw sides for an image with windows on the edge."""
    slow, fast = np.minimum(rng.integers(*EDGE_SIDES, 2, endpoint=True), largest)
    return int(slow), int(fast)


def _aim(rng: np.random.Generator) -> Aim:
    """Draw what a case is for."""
    return list(AIMS)[rng.choice(len(AIMS), p=list(AIMS.values()))]


def _compare(case: RandomCase, dials: Dials, plant: str | None) -> dict[str, int]:
    theirs = answer_of_dials(case, dials)
    ours = our_answer(with_plant(case, plant) if plant else case)
    wrong = [
        name
        for name in ("strong", "spots")
        if not np.array_equal(getattr(ours, name), getattr(theirs, name))
    ]
    if wrong and not plant:
        size = "x".join(map(str, case.image.shape))
        kind = f"{size} {case.image.dtype}, {case.aim}"
        progress(f"seed {case.seed}: {kind}: {wrong} differ")
    return {
        "cases": 1,
        str(case.aim): 1,
        str(case.settings.algorithm): 1,
        "strong pixels": theirs.strong.size,
        "spots": len(theirs.spots),
        "mismatches": bool(wrong),
    }
