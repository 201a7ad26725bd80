"""Finished runs read back, and the tables made of them."""

from mvdecor.results.table import evaluation_summary, format_table, occurrence, summarize

__all__ = ["evaluation_summary", "format_table", "occurrence", "summarize"]
