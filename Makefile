# rdd_nb: `make run` shows the effect, `make test` proves the code. `make help` lists all.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LAB := $(VENV)/.lab
DEV := $(VENV)/.tested
OUT ?= runs/quickstart
WORKERS ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Some containers forbid compiled files, and then every process compiles anew what it imports.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.NOTPARALLEL: # two installations into one place would meet
.PHONY: help run lab check test test-browser lint types unit bench notebooks docs badges student study clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

define install
@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v < (3, 14) else "rdd_nb needs Python 3.10 to 3.13, and $(PYTHON) is %d.%d: make PYTHON=python3.12 …" % v)'
@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "no virtual environment could be made: on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 1; }
@echo "Installing into $(VENV) (once; some minutes) …"
@$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable
endef

# Compiled is what is imported: pip would compile all, which takes 250 MB more.
define compile
@$(BIN)/python -c 'import ipykernel.kernelapp, ipywidgets, matplotlib.pyplot, papermill, scipy.stats, sklearn.cluster, torch; import rdd_nb.cli, rdd_nb.figures, rdd_nb.reporting'
endef

$(STAMP): pyproject.toml constraints.txt
	$(install) .
	$(compile)
	@touch $@

$(LAB): pyproject.toml constraints.txt
	$(install) '.[lab]'
	$(compile)
	@touch $(STAMP) $@

$(DEV): pyproject.toml constraints.txt
	$(install) '.[lab,dev]'
	$(compile)
	@touch $(STAMP) $(LAB) $@

run: $(STAMP)  ## distil, plainly and robustly, and see who is served (1 to 3 minutes)
	@$(BIN)/rdd-nb run notebooks/00_quickstart.ipynb --out $(OUT) -p profile quick

lab: $(LAB)  ## open JupyterLab at the quickstart
	$(BIN)/jupyter lab notebooks/00_quickstart.ipynb

# Up to here a layer knows no notebooks, pages or widgets; its tests are quick.
HEART := core data models clustering distillation evaluation
check: lint types  ## while you work: ruff, mypy, the layers' order, and the tests of core to evaluation (1½ minutes)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(HEART:%=tests/%) $(HEART:%=rdd_nb/%)

test: lint types unit  ## ruff, mypy, pytest; every notebook at profile=smoke (WORKERS=2 at a time, 1.7 GB each)

lint: $(DEV)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-logo --no-cache

types: $(DEV)
	@$(BIN)/mypy

unit: $(DEV)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test-browser: $(DEV)  ## the explorers in a real JupyterLab, moved by a real browser (installs one where absent)
	@$(BIN)/python -c 'import playwright' 2>/dev/null || $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[browser]' || true
	@$(BIN)/python tests/browser/chromium.py
	@$(BIN)/python -m pytest tests/browser

bench: $(STAMP)  ## speed beside a reference and what the machine can do (10 minutes; see docs/how-to/speed.md)
	@$(BIN)/python tests/benchmarks/bench.py

study: $(STAMP)  ## the methods on every scenario, what data/results/study.csv lacks of them, and docs/study.md (resumes)
	@$(BIN)/rdd-nb study data/studies/quick.yaml --workers 2 --table data/results/study.csv --add
	@$(BIN)/python data/results/page.py

notebooks: $(STAMP)  ## execute the notebooks at profile=quick and clean their outputs
	@$(BIN)/python notebooks/execute.py

docs: $(STAMP)  ## the site from the committed notebooks, into build/docs (installs Sphinx once; then needs no network)
	@$(BIN)/python -c 'import myst_nb, repo2docker, sphinx_book_theme' 2>/dev/null || $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	@$(BIN)/python -m sphinx -q -E -W --keep-going -c docs -d build/doctrees . build/docs
	@echo "The site begins at build/docs/index.html"

badges: $(STAMP)  ## badges for Binder and Colab, of make badges REPOSITORY=OWNER/NAME
	@$(BIN)/python notebooks/badges.py $(REPOSITORY)

student: $(STAMP)  ## copies of the notebooks without solutions and outputs, into build/student
	@$(BIN)/rdd-nb course copy build/student --student --force

clean:  ## remove what can be made again (not runs/)
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
