"""Pure numeric kernels: numpy, numba and scipy only."""
