"""Speed against simple reference implementations: python scripts/benchmark.py [json=FILE] [rows=[match,vote]]"""

from mvdecor.apps.benchmark.run import run_benchmark
from mvdecor.engine.cli import main

if __name__ == "__main__":
    main(run_benchmark, "benchmark")
