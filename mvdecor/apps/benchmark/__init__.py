"""What the program costs beside plain versions of the same (scripts/benchmark.py). Outside the core: nothing imports it."""
