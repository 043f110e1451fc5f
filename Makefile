# make demo: the whole workflow on phantoms · make test: the tests · make help: all targets
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help demo test test-all test-fast test-slurm lint format lock docs bench clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# On this platform, hashes.lock is installed first, with checksums; requirements.lock adds the remaining packages.
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

# Made again only if a file that the report shows is newer.
results/demo/report.zip: $(wildcard results/demo/cards/*.html results/demo/claims.html results/demo/tables/*.csv \
    results/demo/figures/*.png results/demo/studies/*.html workflow/report/*.rst)
	$(DEMO) --report $@

test: .venv/.complete  ## all tests except nightly ones
	pytest -n 2 --dist worksteal

test-all: test  ## also nightly tests: repeated kills, benchmark scripts, guides whose commands train
	pytest -m nightly -n 2 --dist worksteal

test-slurm: .venv/.complete  ## tests on a SLURM that they install on this machine; skipped where that is impossible
	pytest -m slurm -rs tests/slurm

test-fast: .venv/.complete  ## tests without those that take long
	pytest -m "not slow and not workflow and not nightly and not slurm" -n 2

lint: .venv/.complete  ## check style, types, import layers, workflow and derived files
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

lock: .venv/.complete  ## renew the lock file from pyproject.toml, and the files derived from it
	pip-compile --quiet --upgrade --strip-extras --no-emit-index-url --no-emit-find-links --no-header --no-annotate \
	    --extra all --extra reference --extra dev --constraint envs/constraints.txt \
	    --output-file envs/requirements.lock pyproject.toml
	sed -i 's/+cpu$$//' envs/requirements.lock
	python -c 'import tomllib; extras = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; \
	    print(*extras["docs"], sep="\n")' | \
	    pip-compile --quiet --upgrade --strip-extras --no-emit-index-url --no-emit-find-links --no-header --no-annotate \
	    --allow-unsafe --generate-hashes --constraint envs/requirements.lock --output-file envs/docs.lock -
	python envs/derive.py
	python envs/hashes.py

.venv/.docs: .venv/.complete envs/docs.lock
	$(BIN)/pip install --quiet --no-deps --require-hashes --requirement envs/docs.lock
	touch $@

docs: .venv/.docs  ## update generated files (schema, reference pages, picture of the packages) and build the site
	spectralseg docs
	python docs/architecture.py
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet
	@echo "Open site/index.html; for its search, run python -m http.server --directory site"

bench: .venv/.complete  ## run all benchmarks and update benchmarks/README.md
	for name in prepare metrics objectives intervals reporting opening dag training; do python benchmarks/$$name.py || exit; done
	if python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then python benchmarks/equivalence.py; fi
	python benchmarks/page.py

clean:  ## remove the results of the demo
	rm -rf results/demo
