"""Speed against simple reference implementations: python scripts/benchmark.py [json=FILE] [rows=[match,vote]]"""

from mvdecor.commands import run

if __name__ == "__main__":
    run("benchmark")
