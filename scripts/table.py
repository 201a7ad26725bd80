"""Run what a table lacks, or gather finished runs: python scripts/table.py experiment=table4_cpu data.root=DIR"""

from mvdecor.commands import run

if __name__ == "__main__":
    run("table")
