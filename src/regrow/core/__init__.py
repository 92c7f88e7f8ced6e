"""The rules of task trees, as plain Python.

Nothing here knows a clock, the network or Temporal: facts come in, decisions go out. The workflow,
the history reader and the tests all drive this one code.
"""
