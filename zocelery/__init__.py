"""Diffraction-image analysis for beamlines: recipes run as Celery canvases."""
