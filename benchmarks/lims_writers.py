"""Eight writers of per-image results at once, each a process of its own."""

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from sqlalchemy import make_url

from zocelery.lims.abilities import find_abilities
from zocelery.lims.connection import Lims
from zocelery.lims.image_quality import image_row, store_image_rows

WRITERS = 8
ROWS = 1000
"""Of each writer."""
START_SECONDS = 2.0
"""Until all have connected."""


def measure_writers(url: str, dcid: int) -> list[dict[str, Any]]:
    """Return rows per second of eight writers, of different images and of the same."""
    context = multiprocessing.get_context("spawn")
    found = []
    with ProcessPoolExecutor(WRITERS, mp_context=context) as pool:
        cases = [(b, i) for b in (ROWS, 100) for i in ("different", "same")]
        for number, (batch, images) in enumerate(cases):
            step = ROWS if images == "different" else 0
            firsts = [2_000_000 + 100_000 * number + n * step for n in range(WRITERS)]
            times = _together(pool, url, dcid, firsts, batch)
            seconds = max(end for _, end in times) - min(start for start, _ in times)
            found.append(
                {
                    "images": images,
                    "rows": batch,
                    "rows per second": round(WRITERS * ROWS / seconds),
                    "milliseconds": f"{1000 * seconds / WRITERS:.1f}",
                }
            )
    return found


def _together(
    pool: ProcessPoolExecutor, url: str, dcid: int, firsts: Sequence[int], batch: int
) -> list[tuple[float, float]]:
    start = time.time() + START_SECONDS
    jobs = [pool.submit(_write, url, dcid, first, batch, start) for first in firsts]
    return [job.result() for job in jobs]


def _write(
    url: str, dcid: int, first: int, batch: int, start: float
) -> tuple[float, float]:
    """Store rows from the moment `start` on; return when it began and ended."""
    lims = Lims(make_url(url))
    abilities = find_abilities(lims)
    found = {"n_spots_total": 50, "n_spots_no_ice": 40, "estimated_d_min": 1.8}
    rows = [image_row(dcid, first + n, found) for n in range(1, ROWS + 1)]
    time.sleep(max(0.0, start - time.time()))
    begun = time.time()
    for place in range(0, ROWS, batch):
        store_image_rows(lims, abilities, rows[place : place + batch])
    ended = time.time()
    lims.close()
    return begun, ended
