"""Workflow code: deterministic, sandboxed, and thin. The rules are in `regrow.core`."""
