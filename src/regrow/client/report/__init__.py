"""One run of a tree as one HTML file: no scripts, no network, secrets hidden as far as found."""

from regrow.client.report.reading import report_of
from regrow.client.report.rendering import report, report_from_events

__all__ = ["report", "report_from_events", "report_of"]
