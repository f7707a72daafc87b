"""Pure numeric kernels: numpy and numba only."""
