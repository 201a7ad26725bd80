"""Speed against simple reference implementations (scripts/benchmark.py). Nothing imports this folder."""
