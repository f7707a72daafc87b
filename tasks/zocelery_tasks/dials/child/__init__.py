"""What DIALS's own Python runs; never imported by ours."""
