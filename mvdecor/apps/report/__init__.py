"""A run as one HTML page: what was done, curves, tables, and predictions to turn in 3D. No numbers are computed anew."""

from mvdecor.apps.report.page import run_report

__all__ = ["run_report"]
