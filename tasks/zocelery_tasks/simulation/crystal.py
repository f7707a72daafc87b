"""The crystal: tetragonal lysozyme in a random orientation, with made-up intensities.

The intensities follow Wilson statistics (A. J. C. Wilson, Acta Cryst. 2, 318, 1949),
obey Laue class 4/mmm and the absences of P43212, and are a pure function of the
indices and the seed: symmetry mates agree exactly, however they are asked for.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zocelery_tasks.simulation.gaussian import FloatArray, inverse_erf

LYSOZYME_CELL = (78.9, 78.9, 37.1)
"""a, b, c in Å of hen egg-white lysozyme, P43212; all angles are 90 degrees."""

WILSON_B = 18.0
"""Overall temperature factor, Å^2."""

_MURMUR3_FINALISER = (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53)


@dataclass(frozen=True, eq=False)
class Crystal:
    """A crystal at rotation angle zero."""

    orientation: FloatArray
    """Rotation matrix U, shape (3, 3), crystal to laboratory frame."""
    seed: int
    """Chooses the structure factors."""
    cell: tuple[float, float, float] = LYSOZYME_CELL
    """a, b, c in Å, with a = b."""
    wilson_b: float = WILSON_B
    """Å^2."""

    @property
    def setting_matrix(self) -> FloatArray:
        """A = UB, shape (3, 3), 1/Å: A @ (h, k, l) is the reciprocal lattice point."""
        return self.orientation @ np.diag(1 / np.asarray(self.cell))


def random_orientation(rng: np.random.Generator) -> FloatArray:
    """Return a rotation matrix, uniform over all orientations.

    A normalised Gaussian quaternion: G. Marsaglia, Ann. Math. Stat. 43, 645 (1972).
    """
    quaternion = rng.normal(size=4)
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def indices_within(
    crystal: Crystal, d_min: float
) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Return hkl, (n, 3), from 50 Å to `d_min` Å, and their 1/d in 1/Å."""
    limits = [int(edge / d_min) + 1 for edge in crystal.cell]
    axes = [np.arange(-limit, limit + 1) for limit in limits]
    hkl = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    inverse_d = np.linalg.norm(hkl / np.asarray(crystal.cell), axis=1)
    inside = (inverse_d > 0.02) & (inverse_d < 1 / d_min)
    return hkl[inside], inverse_d[inside]


def intensities(
    crystal: Crystal, hkl: npt.NDArray[np.int64], d: FloatArray
) -> FloatArray:
    """Return |F|^2, arbitrary scale, for `hkl` (n, 3) at spacings `d` (Å)."""
    uniform = _uniform(hkl, crystal.seed)
    normalised = np.where(
        _is_centric(hkl), _chi_squared(uniform), _exponential(uniform)
    )
    s_squared = 1 / (4 * d * d)
    fall_off = np.exp(-2 * crystal.wilson_b * s_squared)
    result: FloatArray = normalised * fall_off * _protein_shape(1 / d)
    return np.where(_is_absent(hkl), 0, result)


def _uniform(hkl: npt.NDArray[np.int64], seed: int) -> FloatArray:
    """Return a number in [0, 1) for each hkl, equal for mates in Laue class 4/mmm.

    The representative's indices are packed into 64 bits and mixed by the finaliser of
    MurmurHash3 (A. Appleby, public domain).
    """
    absolute = np.abs(hkl)
    larger_first = np.sort(absolute[:, :2], axis=1)[:, ::-1]
    mate = np.column_stack([larger_first, absolute[:, 2]]).astype(np.uint64)
    key = (mate[:, 0] << np.uint64(42)) ^ (mate[:, 1] << np.uint64(21)) ^ mate[:, 2]
    key ^= np.uint64(seed) << np.uint64(50)
    for multiplier in _MURMUR3_FINALISER:
        key ^= key >> np.uint64(33)
        key = key * np.uint64(multiplier)
    key ^= key >> np.uint64(33)
    return (key >> np.uint64(11)).astype(np.float64) / 2**53


def _exponential(uniform: FloatArray) -> FloatArray:
    """Return E^2 of acentric reflections: exponentially distributed, mean 1."""
    return np.asarray(-np.log(np.clip(uniform, 1e-15, 1)))


def _chi_squared(uniform: FloatArray) -> FloatArray:
    """Return E^2 of centric reflections: chi-squared of one degree, mean 1."""
    normal = np.sqrt(2) * inverse_erf(2 * np.clip(uniform, 1e-9, 1 - 1e-9) - 1)
    return np.asarray(normal * normal)


def _is_centric(hkl: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Tell which reflections lie in a centric zone of 422."""
    absolute = np.abs(hkl)
    centric: npt.NDArray[np.bool_] = (hkl == 0).any(axis=1)
    return np.asarray(centric | (absolute[:, 0] == absolute[:, 1]))


def _is_absent(hkl: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Tell which reflections the screw axes 4_3 (along c) and 2_1 (a and b) forbid."""
    h, k, ell = hkl.T
    along_c = (h == 0) & (k == 0) & (ell % 4 != 0)
    along_a = (k == 0) & (ell == 0) & (h % 2 != 0)
    along_b = (h == 0) & (ell == 0) & (k % 2 != 0)
    absent: npt.NDArray[np.bool_] = along_c | along_a | along_b
    return absent


def _protein_shape(inverse_d: FloatArray) -> FloatArray:
    """Return the bump (4.5 Å) and the dip (7 Å) of a protein's Wilson plot."""
    bump = 0.6 * np.exp(-(((inverse_d - 0.22) / 0.06) ** 2))
    dip = 0.35 * np.exp(-(((inverse_d - 0.145) / 0.04) ** 2))
    return np.asarray(1 + bump - dip)
