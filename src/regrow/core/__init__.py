"""The rules of task trees, as plain Python.

Nothing here knows a clock, the network or Temporal: facts come in, decisions go out. The workflow,
the history reader and the tests all drive this one code.

Modules that look at many values import `isinstance` by name: while workflows run, Temporal's
sandbox has a slow one of its own among the builtins, and starting a tree would take twice as long.
"""
