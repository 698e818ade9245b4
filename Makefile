# make demo   toy data, a short training, a table and a picture (about 4 minutes on 2 cores)
# make test   the whole test suite, in a process for each core, four at most
# make lint   ruff, import-linter (who may import whom), mypy
# make site   the documentation as a web site in output/site

PYTHON ?= python3
VENV ?= .venv
DEMO ?= output/demo
BIN := $(VENV)/bin

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test lint site env
env: $(VENV)/.installed-dev

# Sees the system's packages, so that an installed torch or Detectron2 is used and not fetched again.
$(VENV)/.installed: pyproject.toml setup.py constraints.txt Makefile
	$(PYTHON) -m venv --system-site-packages $(VENV)
	$(BIN)/python tools/installed_constraints.py constraints.txt > $(VENV)/constraints.txt
	$(PIP) -c $(VENV)/constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) -c $(VENV)/constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/wend toy $(DEMO)/data/toy
	$(BIN)/wend train --overwrite --config-file configs/demo.yaml --datasets-root $(DEMO)/data OUTPUT_DIR $(DEMO)
	$(BIN)/wend report $(DEMO) --datasets-root $(DEMO)/data
	@echo
	@echo "Try next:"
	@echo "  the same without the weighted entropy:  $(BIN)/wend train --config-file configs/demo.yaml --datasets-root $(DEMO)/data OUTPUT_DIR output/demo_none WEND.LOSS none WEND.ETA 1.0"
	@echo "  intervals, K, fixed boxes, errors:      $(BIN)/wend evaluate --ground-truth toy_test --datasets-root $(DEMO)/data --detections $(DEMO)/inference/toy_test_c2am/detections.json --baseline-boxes toy_train_c2am --analysis --output output/table"
	@echo "  noisier pseudo boxes:                   $(BIN)/wend toy output/noisy/toy --part 0.3 --shift 0.3"
	@echo "  CUB-200-2011:                           README, 'On CUB-200-2011'"
	@echo "  what works on this machine:             $(BIN)/wend doctor"

# One thread: the tests' networks are small, and on a busy machine two threads that wait for each
# other made training 12 times slower.
test: export OMP_NUM_THREADS ?= 1
test: env
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m mypy

site: env
	$(PIP) -c $(VENV)/constraints.txt -e '.[site]'
	$(BIN)/mkdocs build --strict --quiet
