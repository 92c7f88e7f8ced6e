"""Executors as Temporal activities: the host that runs them, and the built-in ones."""
