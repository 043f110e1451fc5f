# make demo: the whole workflow on phantoms · make test: all tests · make help: the rest
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help demo test test-all test-fast test-slurm lint format lock docs bench clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# The lock with checksums is for this platform; the other one then adds what is left.
HASHED := $(filter Linux-x86_64,$(shell uname -s)-$(shell uname -m))

.venv/.complete: envs/requirements.lock envs/hashes.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "SpectralSeg needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	$(if $(HASHED),$(BIN)/pip install --quiet --no-deps --require-hashes --requirement envs/hashes.lock)
	$(BIN)/pip install --quiet --requirement envs/requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

DEMO := env PYTHONPATH=workflow/scripts$(if $(PYTHONPATH),:$(PYTHONPATH)) snakemake --profile workflow/profiles/demo --logger stages

demo: .venv/.complete  ## run the whole workflow on synthetic phantoms, into results/demo
	$(DEMO)
	$(MAKE) --no-print-directory results/demo/report.zip
	@echo "Open results/demo/report/index.html"

# Only when something that the report shows is newer.
results/demo/report.zip: $(wildcard results/demo/cards/*.html results/demo/claims.html results/demo/tables/*.csv \
    results/demo/figures/*.png results/demo/studies/*.html workflow/report/*.rst)
	$(DEMO) --report $@

test: .venv/.complete  ## all tests but the nightly ones
	pytest -n 2 --dist worksteal

test-all: test  ## also the nightly tests: runs killed again and again, benchmark scripts, pages whose commands train
	pytest -m nightly -n 2 --dist worksteal

test-slurm: .venv/.complete  ## the tests on a SLURM of this machine's own, which they install; skipped where that is impossible
	pytest -m slurm -rs tests/slurm

test-fast: .venv/.complete  ## the tests that take less than two minutes together
	pytest -m "not slow and not workflow and not nightly and not slurm" -n 2

lint: .venv/.complete  ## style, types, workflow lint, derived files
	ruff check .
	ruff format --check .
	snakefmt --check .
	mypy
	lint-imports --no-logo --no-cache
	nbstripout --verify notebooks/*.ipynb
	python envs/derive.py --check
	snakemake --lint

format: .venv/.complete  ## format everything
	ruff check --fix --quiet . || true
	ruff format --quiet .
	snakefmt .
	nbstripout notebooks/*.ipynb

lock: .venv/.complete  ## renew the lock from pyproject.toml, and what is derived from it
	pip-compile --quiet --upgrade --strip-extras --no-emit-index-url --no-emit-find-links --no-header --no-annotate \
	    --extra workflow --extra reference --extra export --extra dev --constraint envs/constraints.txt \
	    --output-file envs/requirements.lock pyproject.toml
	sed -i 's/+cpu$$//' envs/requirements.lock
	python envs/derive.py
	python envs/hashes.py

docs: .venv/.complete  ## renew what is generated: the configuration schema, reference pages, the picture of the packages
	spectralseg docs
	python docs/architecture.py

bench: .venv/.complete  ## measure everything beside other ways of doing the same, and renew benchmarks/README.md
	for name in prepare metrics objectives intervals reporting dag training; do python benchmarks/$$name.py || exit; done
	if python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then python benchmarks/equivalence.py; fi
	python benchmarks/page.py

clean:  ## remove results of the demo
	rm -rf results/demo
