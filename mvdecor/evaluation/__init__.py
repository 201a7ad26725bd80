"""Metrics, their protocols, the ceiling that a set of views allows, and tables of results."""

from mvdecor.evaluation.ceiling import ceiling_labels, ceiling_table
from mvdecor.evaluation.metrics import PROTOCOLS, PartMetrics
from mvdecor.evaluation.table import format_table, summarize

__all__ = ["PROTOCOLS", "PartMetrics", "ceiling_labels", "ceiling_table", "format_table", "summarize"]
