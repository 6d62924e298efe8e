# Two commands do everything: `make` runs the study, `make test` runs the tests.
# Both set up .venv by themselves; what is set up already is left alone.

PYTHON ?= python3
READY := .venv/.ready
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: reproduce study setup test test-oldest test-statistics stress test-processors test-slurm benchmark gpu docs docs-links lint schema lock dist clean-stale
.DEFAULT_GOAL := reproduce

reproduce:  ## run the study at the scale of params.yaml and record it in DVC
	@$(PYTHON) src/bop2ndorder/study/workflow/processes.py $(MAKE) --no-print-directory study

study: $(READY)  # one `make` at a time comes here
	snakemake
	dvc repro
	dvc status
	bop2ndorder plan

setup: $(READY)  ## make .venv with the exact versions of requirements.lock

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else \
	  "Python 3.11 or newer is needed, " + sys.executable + " is " + sys.version.split()[0] + \
	  ": call make PYTHON=/path/to/python3.11")'
	@echo "Setting up .venv: some minutes and about 6 GB, mostly PyTorch."
	@$(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet -r requirements.lock
	@.venv/bin/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

test: $(READY)  ## all tests, on all cores
	pytest -n auto --dist worksteal

test-oldest: .venv-oldest/.ready  ## the library with the oldest packages that pyproject.toml allows: minutes, 5 GB
	PYTHONPATH=src .venv-oldest/bin/python -m pytest tests/library

.venv-oldest/.ready: pyproject.toml
	@$(PYTHON) -m venv --clear .venv-oldest
	@.venv-oldest/bin/python -m pip install --quiet pytest hypothesis $$($(PYTHON) -c 'import tomllib; \
	  project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	  print(*(line.replace(">=", "==") for line in project["dependencies"]))')
	@touch $@

test-statistics: $(READY)  ## intervals, Holm, power, equivalence on 1,000 simulated studies each: two minutes
	SIMULATIONS=1000 pytest -n 0 -s tests/analysis/test_simulated.py

stress: $(READY)  ## kill trainings at thirty random moments: ten minutes
	pytest -m stress -s

test-processors: $(READY)  ## the same bits on processors that qemu emulates: ten minutes on two cores
	pytest -m processors tests/processors -s

test-slurm: $(READY)  ## on a Slurm of its own, of which it installs Debian's packages: three minutes
	tests/slurm/run.sh

benchmark: $(READY)  ## measure speed: an hour on an idle machine, needs Python 3.11 or older for the peer
	python -m benchmarks

gpu:  ## on a machine with a GPU: the tests of training on one, and how fast it is
	@$(PYTHON) benchmarks/card.py  # before minutes of setting up
	@$(MAKE) --no-print-directory setup
	pytest -m gpu
	python -m benchmarks.gpu
	python -m benchmarks.page

docs: $(READY)  ## the documentation as a site that opens offline: docs/_build/html/index.html
	@# whole, or pages that are as they were keep the old list of pages beside them
	sphinx-build --builder html --fail-on-warning --keep-going --fresh-env --write-all --quiet docs docs/_build/html

docs-links: $(READY)  ## whether the links that lead out of it lead somewhere: over the network
	sphinx-build --builder linkcheck --keep-going --quiet docs docs/_build/links

lint: $(READY)  ## style of Python and Snakemake files
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile

schema: $(READY)  ## params.schema.json, which editors check params.yaml with, as the code is now
	python -m bop2ndorder.study.config.schema > params.schema.json

lock: $(READY)  ## write requirements.lock anew from what .venv holds
	.venv/bin/python -m pip freeze --exclude-editable \
	  | sed -E '/^(nvidia|cuda|triton)/s/$$/ ; sys_platform == "linux"/' > requirements.lock

dist: .venv-dist/.ready  ## a wheel and an sdist in dist/, as a registry wants them
	rm -rf dist
	.venv-dist/bin/python -m build
	.venv-dist/bin/python -m twine check --strict dist/*

.venv-dist/.ready:
	@$(PYTHON) -m venv --clear .venv-dist
	@.venv-dist/bin/python -m pip install --quiet build twine
	@touch $@

clean-stale:  ## delete runs that the study no longer names, put aside by earlier changes
	rm -rf .stale
