"""The bridge: what Zocalo's clients and services send becomes runs and tasks here."""
