#!/usr/bin/env bash
# Installs the package in the new conda environment. Snakemake runs this script from the repository root.
set -euo pipefail
pip install --no-deps --no-build-isolation --editable .
