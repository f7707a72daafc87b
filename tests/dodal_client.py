"""Runs in an environment of its own: dodal's classes, unmodified, told what to do.

Reads one word a line from standard input and answers each by a line of JSON.
"""

import asyncio
import json
import sys
import time
from typing import Any

from dodal.devices.zocalo import (  # type: ignore[import-not-found]  # not ours
    ZocaloResults,
    ZocaloStartInfo,
    ZocaloTrigger,
)
from dodal.devices.zocalo.zocalo_results import (  # type: ignore[import-not-found]
    ZocaloSource,
)

SIGNALS = (
    "centre_of_mass",
    "max_voxel",
    "max_count",
    "n_voxels",
    "total_count",
    "bounding_box",
    "ispyb_dcid",
    "ispyb_dcgid",
)


class Beamline:
    """What i03 does for a pair of grid scans."""

    def __init__(self, collections: list[dict[str, Any]]) -> None:
        self._collections = collections
        self._trigger = ZocaloTrigger("bluesky")
        self._results = ZocaloResults(
            "zocalo", "bluesky", timeout_s=120, results_source=ZocaloSource.GPU
        )

    async def stage(self) -> None:
        await self._results.connect()
        await self._results.stage()

    async def start(self) -> None:
        for one in self._collections:
            self._trigger.run_start(ZocaloStartInfo(**one))

    async def end(self) -> None:
        for one in self._collections:
            self._trigger.run_end(one["ispyb_dcid"])

    async def wait(self) -> dict[str, Any]:
        await self._results.trigger()
        found = {"time": time.time()}
        for name in SIGNALS:
            value = await getattr(self._results, name).get_value()
            found[name] = value.tolist() if hasattr(value, "tolist") else value
        return found

    async def more(self) -> int:
        """Return how many answers have come that nobody asked for."""
        return int(self._results._raw_results_received.qsize())


async def obey(beamline: Beamline) -> None:
    """Do what standard input says."""
    for line in sys.stdin:
        answer = await getattr(beamline, line.strip())()
        sys.stdout.write(json.dumps({"answer": answer}) + "\n")
        sys.stdout.flush()


asyncio.run(obey(Beamline(json.loads(sys.argv[1]))))
