"""Interleaving: contenders take turns, so that a disturbance meets all of them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Contender = Callable[[], float]
"""Does its work once; returns the seconds that it took."""
Seconds = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """A median, and between which values half of all lie."""

    median: float
    low: float
    """First quartile."""
    high: float
    """Third quartile."""

    @classmethod
    def of(cls, values: Seconds) -> "Spread":
        """Return the spread of some numbers."""
        low, median, high = np.percentile(values, (25, 50, 75)).tolist()
        return cls(median, low, high)


@dataclass(frozen=True)
class Rounds:
    """How long each contender took in each round."""

    seconds: Mapping[str, Seconds]

    def milliseconds(self, name: str) -> Spread:
        """Return how long a contender takes."""
        return Spread.of(self.seconds[name] * 1e3)

    def ratio(self, name: str, peer: str) -> Spread:
        """Return how many times longer `peer` takes, from the rounds' own ratios."""
        return Spread.of(self.seconds[peer] / self.seconds[name])


def interleave(
    contenders: Mapping[str, Contender], rounds: int, seed: int = 0
) -> Rounds:
    """Let contenders take turns, in a random order in each round.

    The order is drawn anew because whoever comes after a neighbour that used the same
    memory finds it in the cache. A first round, not counted, warms up.

    Args:
        contenders: by name.
        rounds: how often each has its turn.
        seed: of the order.
    """
    rng = np.random.default_rng(seed)
    names = list(contenders)
    seconds = {name: np.zeros(rounds) for name in names}
    for number in range(-1, rounds):
        for name in rng.permutation(names).tolist():
            taken = contenders[name]()
            if number >= 0:
                seconds[name][number] = taken
    return Rounds(seconds)


def timed(work: Callable[[], object]) -> Contender:
    """Return a contender that does `work` in this process, in CPU seconds.

    CPU time rather than the clock's, so that others on the core matter less.
    """

    def contend() -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    return contend
