"""How far photons reach into a detector's sensor."""

from functools import lru_cache

import numpy as np

_KEV_ANGSTROM = 12.398419843
"""Energy of a photon times its wavelength."""

# Density in g/cm³, then photon energy in keV and mass attenuation in cm²/g, twice at
# absorption edges: J. H. Hubbell and S. M. Seltzer, NISTIR 5632 (1995).
_TABLES: dict[str, tuple[float, list[tuple[float, float]]]] = {
    "Si": (
        2.33,
        [
            *((1.0, 1570.0), (1.5, 535.5), (1.8389, 309.2), (1.8389, 3192.0)),
            *((2.0, 2777.0), (3.0, 978.4), (4.0, 452.9), (5.0, 245.0), (6.0, 147.0)),
            *((8.0, 64.68), (10.0, 33.89), (15.0, 10.34), (20.0, 4.464)),
            *((30.0, 1.436), (40.0, 0.7012), (50.0, 0.4385), (60.0, 0.3207)),
            *((80.0, 0.2228), (100.0, 0.1835), (150.0, 0.1448), (200.0, 0.1275)),
        ],
    ),
    "CdTe": (
        6.2,
        [
            *((1.0, 7927.0), (1.003, 7875.0), (1.006, 7824.0), (1.006, 8014.0)),
            *((1.5, 3291.0), (2.0, 1664.0), (3.0, 614.6), (3.537, 406.4)),
            *((3.537, 778.7), (3.631, 730.0), (3.727, 684.0), (3.727, 860.1)),
            *((4.0, 723.0), (4.018, 715.1), (4.018, 793.4), (4.177, 722.1)),
            *((4.341, 656.2), (4.341, 932.8), (4.475, 873.9), (4.612, 813.5)),
            *((4.612, 943.8), (4.773, 870.2), (4.939, 799.9), (4.939, 865.3)),
            *((5.0, 839.2), (6.0, 528.6), (8.0, 249.2), (10.0, 138.1), (15.0, 46.57)),
            *((20.0, 21.44), (26.711, 9.834), (26.711, 29.43), (30.0, 21.82)),
            *((31.814, 18.73), (31.814, 34.92), (40.0, 19.3), (50.0, 10.67)),
            *((60.0, 6.542), (80.0, 3.019), (100.0, 1.671), (150.0, 0.6071)),
            (200.0, 0.3246),
        ],
    ),
    "GaAs": (
        5.32,
        [
            *((1.0, 1917.0), (1.05613, 1685.0), (1.1154, 1481.0), (1.1154, 2772.0)),
            *((1.12877, 3180.0), (1.1423, 3532.0), (1.1423, 4372.0), (1.21752, 4130.0)),
            *((1.2977, 3657.0), (1.2977, 4066.0), (1.31034, 3971.0), (1.3231, 3879.0)),
            *((1.3231, 5652.0), (1.34073, 5525.0), (1.3586, 5415.0), (1.3586, 6266.0)),
            *((1.5, 5159.0), (1.5265, 4939.0), (1.5265, 5278.0), (2.0, 2731.0)),
            *((3.0, 970.2), (4.0, 453.9), (5.0, 249.5), (6.0, 152.4), (8.0, 69.6)),
            *((10.0, 37.8), (10.3671, 34.25), (10.3671, 126.0), (11.0916, 105.9)),
            *((11.8667, 88.99), (11.8667, 168.5), (15.0, 92.2), (20.0, 42.58)),
            *((30.0, 13.97), (40.0, 6.262), (50.0, 3.365), (60.0, 2.042)),
            *((80.0, 0.9587), (100.0, 0.5598), (150.0, 0.2509), (200.0, 0.1671)),
        ],
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
    density, table = _TABLES.get(material, (0.0, []))
    energy = _KEV_ANGSTROM / wavelength
    if not table or not table[0][0] <= energy <= table[-1][0]:
        return None
    energies, coefficients = np.log(table).T
    per_mass = np.exp(np.interp(np.log(energy), energies, coefficients))
    return float(per_mass) * density / 10
