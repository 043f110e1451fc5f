"""config/real_monuseg.yaml on real histology tiles, with fewer and smaller steps."""

import os
from pathlib import Path

import pandas as pd
import pytest
import yaml

from .conftest import REPOSITORY, snakemake, write_config

TILES = Path(os.environ.get("SPECTRALSEG_REAL_SAMPLES", REPOSITORY.parent / "shared" / "real_samples")) / "monuseg"

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.nightly(reason="trains for minutes, as README.md says of this study"),
    pytest.mark.skipif(not TILES.is_dir(), reason=f"no real tiles in {TILES}; set SPECTRALSEG_REAL_SAMPLES"),
]


def test_either_objective_learns_real_nuclei(tmp_path):
    study = yaml.safe_load((REPOSITORY / "config" / "real_monuseg.yaml").read_text(encoding="utf-8"))
    assert study["datasets"]["monuseg"]["path"] == "../shared/real_samples/monuseg"
    study["datasets"]["monuseg"]["path"] = str(TILES)
    study["image_size"] = 192
    study["training"].update(iterations=160, validate_every=40)
    config = write_config(tmp_path, study)
    snakemake(tmp_path, "--cores", 2, "--configfile", config, "--set-threads", "train=1", "evaluate=1", "--")
    records = pd.read_parquet(tmp_path / "results" / "real_monuseg" / "records.parquet")
    dice = records[(records["metric"] == "dsc") & (records["protocol"] == "sound") & (records["suite"] == "iid")]
    means = dice.groupby("objective", observed=True)["value"].mean()
    assert set(means.index) == {"spatial", "spatial_spectral"}
    # A tile has about a quarter of nuclei: calling everything a nucleus would score 0.4.
    assert means.min() > 0.5
    table = (tmp_path / "results" / "real_monuseg" / "tables" / "table_1.md").read_text(encoding="utf-8")
    assert "phantom" not in table
    assert (tmp_path / "results" / "real_monuseg" / "figures" / "figure_6.png").stat().st_size > 50_000
