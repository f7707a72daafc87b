"""Simulated diffraction images."""
