"""What a tree will use before it runs: events, bytes, workflow tasks, actions of Temporal Cloud.

The tree runs in memory, by the rules it would run by on a server, and leaves histories that are
counted instead of kept. What a document can't say is assumed, and said with the answer.
"""

from regrow.core.cost.estimate import Cost, Part, Run, estimate
from regrow.core.cost.world import Assumptions

__all__ = ["Assumptions", "Cost", "Part", "Run", "estimate"]
