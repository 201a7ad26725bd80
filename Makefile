# The two commands that set everything up: `make demo` and `make test`.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

JOBS ?= 2
KILLS ?= 20
CASES ?= 20000
RESULT ?= docs/results/gpu.json
GPU_PYTHON ?=
DATA ?= data
RUNS ?= outputs
TRAIN ?=

.PHONY: demo test gpu pictures faults fuzz format clean

demo: $(STAMP)
	$(BIN)/python scripts/pipeline.py experiment=demo out=outputs/demo

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal

# First on a machine with a GPU, in under ten minutes: the doctor, the device against the CPU, the benchmark; RESULT is what
# came out. GPU_PYTHON=python3 takes an interpreter that has the dependencies, for machines without a network.
gpu: $(if $(GPU_PYTHON),,$(STAMP))
	$(or $(GPU_PYTHON),$(BIN)/python) -m mvdecor.apps.benchmark.first_run $(RESULT)

# The pictures of the docs, of the finished runs in RUNS and the data sets in DATA; what is missing is named, or with TRAIN=1 trained.
pictures: $(STAMP)
	$(BIN)/python -m tests.pictures --data $(DATA) --runs $(RUNS) $(if $(TRAIN),--train)

# Kill each stage at random moments, start it again, compare with an undisturbed run.
faults: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults $(KILLS)

# Read damaged files: each is read, or refused with one clear message.
fuzz: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz $(CASES)

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Caches only: results under outputs/ and the environment stay.
clean:
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find mvdecor scripts tests -type d -name __pycache__ -prune -exec rm -rf {} +

# Made once, and brought up to date when the dependencies change.
$(STAMP): pyproject.toml
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
		$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
			echo "mvdecor needs Python 3.11 or newer, and $(PYTHON) is not: make $(MAKECMDGOALS) PYTHON=python3.12"; \
			exit 1; }; \
		$(PYTHON) -m venv --clear .venv; }
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@
