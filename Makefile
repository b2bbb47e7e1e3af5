# The two commands that users need: `make demo` and `make test`. Everything else is for developers.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORES ?= 2
# One thread per job: two small trainings side by side beat one on two threads. One job more than cores: while one
# begins or ends, the others compute.
DEMO_THREADS := --set-threads classify=1 affinity=1 segment=1 cam=1 walk=1 predict=1 words=1 evaluate=1
export PYTHONHASHSEED := 0
# Where it is set, each of a run's many processes compiles all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-slurm bench environment lint format clean

demo: environment
	$(BIN)/wsss warm $(BIN)/snakemake --cores $$(($(CORES) + 1)) --configfile config/demo.yaml $(DEMO_THREADS) --quiet rules
	@$(BIN)/wsss show --configfile config/demo.yaml

test: environment
	$(BIN)/python -m pytest -n $(CORES) --dist loadfile

# Faults, on a SLURM of its own in this machine; installs it where it may (Debian, as root), else the tests skip and say why.
test-slurm: environment
	sh tests/slurm/install.sh
	WSSS_TEST_SLURM=1 $(BIN)/python -m pytest -n $(CORES) --dist loadfile -rs tests/workflow/test_kills.py tests/slurm

# Speed of every step beside what is commonly used; STEPS="crf scores" runs some. Several minutes on an idle core.
bench: environment
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r bench/requirements.txt
	OMP_NUM_THREADS=1 $(BIN)/python -m bench $(STEPS)

environment: $(VENV)/.ready

# uv installs in seconds what pip installs in minutes; pip itself brings uv.
$(VENV)/.ready: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	$(BIN)/wsss warm
	touch $@

lint: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint --configfile config/demo.yaml
	$(BIN)/mypy wsss

format: environment
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile rules

clean:
	rm -rf results logs benchmarks checkpoints provenance .snakemake
