"""How far photons reach into a detector's sensor."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from zocelery_tasks.images.units import KEV_ANGSTROM


@dataclass(frozen=True)
class _Attenuation:
    """Numbers of J. H. Hubbell and S. M. Seltzer, NISTIR 5632 (1995)."""

    density: float
    """In g/cm³."""
    table: str
    """Photon energy in keV, mass attenuation coefficient in cm²/g, and so on; twice
    at absorption edges."""


_MATERIALS = {
    "Si": _Attenuation(
        2.33,
        """
        1 1570  1.5 535.5  1.8389 309.2  1.8389 3192  2 2777  3 978.4  4 452.9  5 245
        6 147  8 64.68  10 33.89  15 10.34  20 4.464  30 1.436  40 0.7012  50 0.4385
        60 0.3207  80 0.2228  100 0.1835  150 0.1448  200 0.1275
        """,
    ),
    "CdTe": _Attenuation(
        6.2,
        """
        1 7927  1.003 7875  1.006 7824  1.006 8014  1.5 3291  2 1664  3 614.6
        3.537 406.4  3.537 778.7  3.631 730  3.727 684  3.727 860.1  4 723
        4.018 715.1  4.018 793.4  4.177 722.1  4.341 656.2  4.341 932.8  4.475 873.9
        4.612 813.5  4.612 943.8  4.773 870.2  4.939 799.9  4.939 865.3  5 839.2
        6 528.6  8 249.2  10 138.1  15 46.57  20 21.44  26.711 9.834  26.711 29.43
        30 21.82  31.814 18.73  31.814 34.92  40 19.3  50 10.67  60 6.542  80 3.019
        100 1.671  150 0.6071  200 0.3246
        """,
    ),
    "GaAs": _Attenuation(
        5.32,
        """
        1 1917  1.05613 1685  1.1154 1481  1.1154 2772  1.12877 3180  1.1423 3532
        1.1423 4372  1.21752 4130  1.2977 3657  1.2977 4066  1.31034 3971  1.3231 3879
        1.3231 5652  1.34073 5525  1.3586 5415  1.3586 6266  1.5 5159  1.5265 4939
        1.5265 5278  2 2731  3 970.2  4 453.9  5 249.5  6 152.4  8 69.6  10 37.8
        10.3671 34.25  10.3671 126  11.0916 105.9  11.8667 88.99  11.8667 168.5
        15 92.2  20 42.58  30 13.97  40 6.262  50 3.365  60 2.042  80 0.9587
        100 0.5598  150 0.2509  200 0.1671
        """,
    ),
}


@lru_cache(maxsize=64)
def attenuation_coefficient(material: str, wavelength: float) -> float | None:
    """Return the linear attenuation coefficient of a material, in 1/mm.

    It is interpolated in the logarithms of energy and coefficient.

    Args:
        material: `Si`, `CdTe` or `GaAs`.
        wavelength: in Å.

    Returns:
        None for other materials, and for photons of less than 1 or more than 200 keV.
    """
    known = _MATERIALS.get(material)
    if known is None:
        return None
    numbers = np.array(known.table.split(), dtype=np.float64)
    energies, coefficients = numbers.reshape(-1, 2).T
    energy = KEV_ANGSTROM / wavelength
    if not energies[0] <= energy <= energies[-1]:
        return None
    logarithm = np.interp(np.log(energy), np.log(energies), np.log(coefficients))
    return float(np.exp(logarithm)) * known.density / 10
