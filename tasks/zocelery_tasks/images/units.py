"""The units that detector files use."""

KEV_ANGSTROM = 12.398419843320026
"""Energy of a photon times its wavelength."""

_MM = {
    "m": 1e3,
    "metre": 1e3,
    "meter": 1e3,
    "cm": 10.0,
    "mm": 1.0,
    "millimetre": 1.0,
    "millimeter": 1.0,
    "um": 1e-3,
    "µm": 1e-3,
    "μm": 1e-3,
    "micron": 1e-3,
    "micrometre": 1e-3,
    "micrometer": 1e-3,
    "nm": 1e-6,
    "a": 1e-7,
    "å": 1e-7,
    "angstrom": 1e-7,
}
_DEGREES = {
    "deg": 1.0,
    "degree": 1.0,
    "°": 1.0,
    "rad": 57.29577951308232,
    "radian": 57.29577951308232,
}


def mm_per(unit: str) -> float:
    """Return the length of `unit` in mm; KeyError if it is no known length."""
    return _find(_MM, unit)


def angstrom_per(unit: str) -> float:
    """Return the length of `unit` in Å; KeyError if it is no known length."""
    return _find(_MM, unit) / _MM["angstrom"]


def degrees_per(unit: str) -> float:
    """Return the size of `unit` in degrees; KeyError if it is no known angle."""
    return _find(_DEGREES, unit)


def _find(table: dict[str, float], unit: str) -> float:
    name = unit.strip().lower()
    return table[name] if name in table else table[name.removesuffix("s")]
