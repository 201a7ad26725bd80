"""One HTML page of a run, to open anywhere: python scripts/report.py run=outputs/people"""

from mvdecor.commands import run

if __name__ == "__main__":
    run("report")
