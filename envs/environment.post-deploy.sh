#!/usr/bin/env bash
# Snakemake runs this in the new conda environment, from the repository root, to add the package itself.
set -euo pipefail
pip install --no-deps --no-build-isolation --editable .
