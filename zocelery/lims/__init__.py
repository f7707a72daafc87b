"""The LIMS, ISPyB: what it says of a data collection, and what an analysis found.

Nothing outside of this package imports `ispyb`, and nothing inside does before the
first use: a worker that only analyses images never loads it.
"""
