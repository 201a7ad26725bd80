"""One HTML page of a run, to open anywhere: python scripts/report.py run=outputs/people"""

from mvdecor.apps.report import run_report
from mvdecor.engine.cli import main

if __name__ == "__main__":
    main(run_report, config="report")
