"""Regrow beside its peers: the same work, on durable storage, in one session, interleaved.

`python -m benchmarks.peers` runs it; README.md says what runs on what.
"""
