"""Label and measure the test data: python scripts/evaluate.py experiment=people_cpu checkpoint=DIR2/model out=DIR3"""

from mvdecor.commands import run

if __name__ == "__main__":
    run("evaluate")
