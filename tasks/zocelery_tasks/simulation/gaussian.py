"""The Gaussian integral and its inverse, in numbers that are the same everywhere.

Closed formulas instead of `scipy.special`, so that a seed gives the same pixels with
any version of any library.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]

_ERF_P = 0.3275911
_ERF_A = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
_INVERSE_A = 0.147


def erf(x: FloatArray) -> FloatArray:
    """Return the error function of `x` to within 1.5e-7.

    Formula 7.1.26 of Abramowitz & Stegun, Handbook of Mathematical Functions (1964).
    """
    t = 1 / (1 + _ERF_P * np.abs(x))
    a1, a2, a3, a4, a5 = _ERF_A
    polynomial = t * (a1 + t * (a2 + t * (a3 + t * (a4 + t * a5))))
    result: FloatArray = np.sign(x) * (1 - polynomial * np.exp(-x * x))
    return result


def inverse_erf(x: FloatArray) -> FloatArray:
    """Return the inverse error function of `x` (-1 < x < 1) to within 2e-3.

    S. Winitzki, "A handy approximation for the error function and its inverse" (2008).
    """
    logarithm = np.log(1 - x * x)
    t = 2 / (np.pi * _INVERSE_A) + logarithm / 2
    result: FloatArray = np.sign(x) * np.sqrt(
        np.sqrt(t * t - logarithm / _INVERSE_A) - t
    )
    return result


def gaussian_integral(
    low: FloatArray | float, high: FloatArray | float, width: FloatArray | float
) -> FloatArray:
    """Return the part of a Gaussian about 0 that lies between `low` and `high`.

    Args:
        low: lower end, relative to the centre.
        high: upper end, in the same unit.
        width: sqrt(2) times the standard deviation, in the same unit.
    """
    upper, lower = np.asarray(high / width), np.asarray(low / width)
    result: FloatArray = 0.5 * (erf(upper) - erf(lower))
    return result
