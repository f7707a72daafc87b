"""Rules: what a data collection asks for by itself, and why."""
