"""How much is too much. Temporal's own walls hang or kill a run, so ours stand before them."""

from datetime import timedelta
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

MAX_TASKS: Final = 100_000
MAX_NESTING: Final = 100
MAX_EXPRESSION: Final = 4 * KIB
MAX_EXPRESSION_DEPTH: Final = 250
"""Operators inside operators; the library recurses over them, and Python stops at a thousand."""

MAX_STEPS: Final = 1_000_000
"""What the expressions of one value may take together, a quarter to half of a microsecond each;
a workflow task that takes two seconds never ends."""

MAX_STEPS_PER_TASK: Final = 250_000
"""After which a workflow task leaves the rest of its decisions to the next."""

MAX_EXPRESSIONS: Final = 256 * KIB
"""Characters of a document's different expressions; each takes two microseconds to read."""

MAX_USER_ID_BYTES: Final = 64
MAX_IN_FLIGHT: Final = 500
MAX_ITEMS: Final = 10_000
MAX_SUBTREE_DEPTH: Final = 8
MAX_EVENTS: Final = 1_000
"""Events that a tree keeps by name, whether something waits for them or not."""
MAX_EVENT_NAME: Final = 200
MAX_EVENT_BYTES: Final = 64 * KIB
MAX_ALL_EVENTS_BYTES: Final = 256 * KIB
MAX_LISTED_FAILURES: Final = 10

MAX_PAYLOAD: Final = 2 * MIB - 4 * KIB
"""One argument or result; the server refuses 2 MiB, the rest is for its envelope."""

PACK_ABOVE: Final = 128 * KIB
"""Bytes of JSON above which a document travels compressed."""
MAX_UNPACKED: Final = 64 * MIB
"""Bytes of JSON that a compressed document may have."""

BREATHE_ABOVE: Final = 20_000
"""Tasks above which the beginning of a run is spread over several workflow tasks."""

PARTITION_ABOVE: Final = 1_000
"""Tasks above which a tree hands its work to child workflows, each a partition of it."""
PARTITION_TASKS: Final = 250
PARTITION_LEAST: Final = 8
"""Tasks of a partition: at most, and how many must come together to be worth one."""
PARTITIONS_AT_ONCE: Final = 4
"""As many share what may be in flight."""
PARTITION_BYTES: Final = 4 * MIB
"""JSON of the inputs of a partition's tasks and of the results that they read; to write and to
compress much more takes a workflow task more time than it has."""
PARTITION_PACK_ABOVE: Final = 4 * KIB
REPORT_EXPORTS: Final = timedelta(seconds=1)
REPORT_ALL: Final = timedelta(seconds=10)
"""How long a partition keeps ends to itself: those that others wait for, and the rest."""
REPORT_BYTES: Final = 512 * KIB
"""Results that a partition has not handed on, at most, before it does so at once."""
MAX_HANDED_ON: Final = MAX_PAYLOAD - 32 * KIB
"""One result that a partition can hand on; the rest of two MiB is for what is said about it."""

MAX_STARTS_PER_TASK: Final = 100
MAX_WAITS_PER_TASK: Final = 1_000
MAX_BYTES_PER_TASK: Final = 2_000_000
"""Starts, and bytes of their inputs, in one workflow task; beyond 4 MB the server ends the run."""

MAX_LOCAL_IN_FLIGHT: Final = 50
MAX_LOCAL_RESULT: Final = 32 * KIB
"""Of a local task, whose end is written in the same workflow task as its neighbours' ends."""
MAX_LOCAL_DETAILS: Final = 8 * KIB
"""Of its failure."""
MAX_LOCAL_STARTS: Final = 100
MAX_LOCAL_PACE: Final = timedelta(seconds=1)
"""After so many, or so long, a workflow task that runs local tasks makes room for the next: what
ended in it is safe then, and people are heard."""
LOCAL_TIMEOUT: Final = timedelta(seconds=10)
MAX_LOCAL_TIMEOUT: Final = timedelta(minutes=1)
"""What one attempt of a local task may take: by default, and at most."""

MAX_ENGINE_BYTES: Final = MIB
"""A result, a continuation or a query answer that the engine writes."""

MAX_RESULTS_BYTES: Final = 256 * KIB
"""Task results inside a `TreeResult`; what is left out is marked and stays in history."""

MAX_LISTED_TASKS: Final = 2_000
MAX_LISTED_PROBLEM_TASKS: Final = 500
MAX_WIRE_PROBLEMS: Final = 500
MAX_PROBLEM_CHARS: Final = 1_000
"""Problems that a refused run carries, and the length of each; the client lists them all."""

MAX_ERROR_CHARS: Final = 10_000
MAX_ROOT_ERROR_CHARS: Final = 200
MAX_CYCLES: Final = 20

ROLLOVER_EVENTS: Final = 3_500
ROLLOVER_BYTES: Final = 900_000
ROLLOVER_HOLD: Final = timedelta(seconds=30)
ROLLOVER_RETRY_EVENTS: Final = 1_000
ROLLOVER_FORCE_EVENTS: Final = 20_000
LAST_EVENTS: Final = 45_000
LAST_BYTES: Final = 45_000_000
"""Where a run that cannot continue as new gives up; the server kills at 51,200 and 50 MB."""
