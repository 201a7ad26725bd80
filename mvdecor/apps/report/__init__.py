"""A run as one HTML page: settings, curves, tables, and predictions in 3D. Shows results, computes none."""

from mvdecor.apps.report.page import run_report

__all__ = ["run_report"]
