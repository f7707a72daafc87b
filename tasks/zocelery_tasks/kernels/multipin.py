"""Pins that hold one sample or several, each in its well."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_LOOP_TYPE = re.compile(r"multipin_(\d+)x(\d+)\+(\d+)")


def well_limits(loop_type: str | None, step_um: float) -> list[tuple[float, float]]:
    """Return where the wells of a pin begin and end along x, in boxes.

    Args:
        loop_type: `multipin_NxW+O`: N wells, W µm from one to the next, the middle of
            the first O µm from the grid's start. Any other text is a pin without
            wells.
        step_um: size of a box along x in µm.

    Returns:
        (first, last) for each well; empty for a pin without wells.
    """
    found = _LOOP_TYPE.match(loop_type or "")
    if found is None:
        return []
    count, width, offset = map(int, found.groups())
    return [
        (
            (offset + width * well - width / 2) / step_um,
            (offset + width * well + width / 2) / step_um,
        )
        for well in range(count)
    ]


@dataclass(frozen=True, slots=True)
class Pin:
    """The samples on a pin."""

    sample_id: int | None = None
    """The sample of a pin without wells."""
    sample_ids: Mapping[int, int] = field(default_factory=dict)
    """Samples by the number of their well, from 1."""
    limits: Sequence[tuple[float, float]] = ()
    """Where the wells begin and end along x, in boxes."""

    def sample_at(self, x: float) -> int | None:
        """Return the id of the sample at `x`.

        Both limits belong to a well, and the first well that fits is taken. None
        stands for a place outside of all wells and for a well whose sample is not
        known.

        Args:
            x: in boxes along the pin; the middle of the first box is at 0.5.
        """
        if not self.limits:
            return self.sample_id
        for well, (first, last) in enumerate(self.limits, start=1):
            if first <= x <= last:
                return self.sample_ids.get(well)
        return None
