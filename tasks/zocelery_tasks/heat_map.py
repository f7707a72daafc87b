"""A grid of spot counts as a picture: in the terminal, as PNG, as SVG."""

import numpy as np
import numpy.typing as npt


def table_of_counts(grid: npt.NDArray[np.float64]) -> list[str]:
    """Return the rows of a grid as text, a dot for each empty box.

    Args:
        grid: counts, shape (ny, nx).
    """
    cells = [["." if count == 0 else f"{count:g}" for count in row] for row in grid]
    width = max((len(cell) for row in cells for cell in row), default=1)
    return [" ".join(cell.rjust(width) for cell in row) for row in cells]
