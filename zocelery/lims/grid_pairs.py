"""Grid pairs: two grid scans of one group, the sample turned by 90° between them."""

from collections.abc import Sequence

from sqlalchemy import Connection

from zocelery.lims.abilities import Abilities
from zocelery.lims.connection import Lims
from zocelery.lims.lookup_rows import grid_of
from zocelery.lims.reader import Reader, Row

TOLERANCE_DEG = 5.0
"""How far from a right angle two grids may be."""
STEPS = "steps_x"
_ANGLES = ("omegaStart", "axisStart")


def find_pair(lims: Lims, abilities: Abilities, dcid: int) -> tuple[int, int] | None:
    """Return the pair of grids of which a data collection is one, the first one first.

    Grids of a group pair up in the order of their ids, if they are equally long along
    x. Where the LIMS knows no angles, any two of them do.

    Args:
        lims: to ask.
        abilities: of its account.
        dcid: one of the two.

    Raises:
        ServerUnreachableError: the LIMS does not answer.
    """

    def _read(connection: Connection) -> list[Row]:
        reader = Reader(connection, abilities)
        own = reader.one("DataCollection", {"dataCollectionId": dcid})
        where = {"dataCollectionGroupId": own.get("dataCollectionGroupId")}
        rows = reader.all("DataCollection", where)
        grids = [(row, grid_of(reader, row)) for row in rows]
        return [{**row, STEPS: grid.get(STEPS)} for row, grid in grids if grid]

    pairs = pair_up(lims.read(_read))
    return next((pair for pair in pairs if dcid in pair), None)


def pair_up(grids: Sequence[Row]) -> list[tuple[int, int]]:
    """Return the pairs among the grids of a group, given in the order of their ids."""
    pairs = []
    waiting: list[Row] = []
    for grid in grids:
        fitting = (one for one in waiting if is_turned(one, grid))
        partner = next((one for one in fitting if is_as_long(one, grid)), None)
        if partner is None:
            waiting.append(grid)
            continue
        waiting.remove(partner)
        pairs.append((partner["dataCollectionId"], grid["dataCollectionId"]))
    return pairs


def is_turned(one: Row, other: Row) -> bool:
    """Whether the sample was turned by a right angle between two data collections."""
    angles = (_angle(one), _angle(other))
    if angles[0] is None or angles[1] is None:
        return angles == (None, None)
    return abs((angles[1] - angles[0]) % 180.0 - 90.0) <= TOLERANCE_DEG


def is_as_long(one: Row, other: Row) -> bool:
    """Whether two grids have as many steps along x, as far as the LIMS knows."""
    steps = {float(row[STEPS]) for row in (one, other) if row.get(STEPS)}
    return len(steps) < 2


def _angle(row: Row) -> float | None:
    found = (row.get(name) for name in _ANGLES)
    return next((float(angle) for angle in found if angle is not None), None)
