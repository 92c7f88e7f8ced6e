"""Pictures of trees: pure functions from a tree, and how it stands, to text.

    picture = picture_of(tree, marks_of(run))
    svg(picture), mermaid(picture), dot(picture)

`text` is for terminals; `details` is what the Temporal Web UI shows of a running tree.
"""

from regrow.core.draw.dot import dot
from regrow.core.draw.marks import Mark, marks_of
from regrow.core.draw.mermaid import mermaid
from regrow.core.draw.picture import Picture, picture_of
from regrow.core.draw.svg import svg

__all__ = ["Mark", "Picture", "dot", "marks_of", "mermaid", "picture_of", "svg"]
