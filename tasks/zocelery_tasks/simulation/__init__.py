"""Simulated diffraction images: a lysozyme crystal on detectors as they are in use.

`scans.simulate_rotation` and `scans.simulate_grid` are the two ways in.
"""
