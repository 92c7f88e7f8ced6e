"""How a tree looks in a terminal: lines of text from a state, and nothing else.

Nothing here reads a clock, a screen's size or a server; whoever draws says what they are.
"""

from regrow.cli.view.changes import change_line, retry_line
from regrow.cli.view.endings import failure_lines, summary_line
from regrow.cli.view.estimate import Estimate
from regrow.cli.view.picture import Sight, picture, tree_lines
from regrow.cli.view.standing import Standing, standing_of

__all__ = [
    "Estimate",
    "Sight",
    "Standing",
    "change_line",
    "failure_lines",
    "picture",
    "retry_line",
    "standing_of",
    "summary_line",
    "tree_lines",
]
