import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from spectralseg.errors import InputError
from spectralseg.grid import Run
from spectralseg.metrics.records import COLUMNS, COMPACT, RUN_KEYS, divergence_record
from spectralseg.reporting.figures import build_figure
from spectralseg.reporting.report.runs_table import read_runs
from spectralseg.reporting.results import BANNER, Results
from spectralseg.reporting.tables import build_table
from spectralseg.statistics.comparison import compare


def test_folder_must_exist(tmp_path):
    with pytest.raises(InputError, match="the results folder does not exist"):
        Results(tmp_path / "none")


def test_records_must_exist(tmp_path):
    with pytest.raises(InputError, match="no metric records"):
        Results(tmp_path).records  # noqa: B018


def test_records_must_be_complete(official, tmp_path):
    pd.read_parquet(official / "records.parquet").drop(columns="flag").to_parquet(tmp_path / "records.parquet")
    with pytest.raises(InputError, match="cannot be read as a table of metric records"):
        Results(tmp_path).records  # noqa: B018


def test_filters(official):
    results = Results(official)
    some = results.read(metric={"dsc"}, dataset={"acdc", "synapse"})
    whole = results.records
    assert len(some) == ((whole["metric"] == "dsc") & whole["dataset"].isin(["acdc", "synapse"])).sum()
    assert results.read(metric={"none"}).empty


def test_demonstration(official, phantom, tmp_path):
    assert not Results(official).demonstration
    assert Results(phantom).demonstration
    assert not Results(tmp_path).demonstration


def test_runs_and_examples(official):
    results = Results(official)
    runs = results.runs()
    assert len(runs) == 6 * 4 - 1
    assert Run("btseg", "transunet", "spatial", "0", 0) not in runs
    assert results.examples(Run("btseg", "transunet", "spatial", "0", 0)) is None
    examples = results.examples(Run("kvasir_seg", "unet", "spatial_spectral", "0.2", 0))
    assert examples is not None
    assert examples.find("polypgen", "polypgen_2", 2) == 4
    assert examples.find("polypgen", "polypgen_2", 1) is None


def test_damaged_examples_raise(official, tmp_path):
    run = Run("acdc", "unet", "spatial", "0", 0)
    file = tmp_path / "runs" / run.folder / "examples.npz"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"examples\.npz"):
        Results(tmp_path).examples(run)


@pytest.mark.slow
class TestDivergedRuns:
    @pytest.fixture
    def diverge(self, study, tmp_path):
        """The study where some runs diverged: in training, or in evaluation, which ``run.json`` does not know."""

        def build(runs, trained=True):
            root = tmp_path / "results"
            shutil.copytree(study, root)
            records = pd.read_parquet(root / "records.parquet")
            keys = pd.MultiIndex.from_frame(records[list(RUN_KEYS)])
            rows = [{**run.keys, **divergence_record(run.dataset, "its logits are not finite")} for run in runs]
            records = records[~keys.isin([tuple(run.keys.values()) for run in runs])]
            with parquet.ParquetWriter(root / "records.parquet", COMPACT) as writer:  # a run at a time, as 'collect'
                for part in (records, pd.DataFrame(rows, columns=list(COLUMNS))):
                    writer.write_table(pa.Table.from_pandas(part, preserve_index=False).cast(COMPACT))
            for run in runs:
                folder = root / "runs" / run.folder
                with np.load(folder / "examples.npz") as arrays:
                    empty = {name: arrays[name][:0] for name in arrays}
                np.savez(folder / "examples.npz", **empty)
                pd.read_parquet(folder / "reliability.parquet")[:0].to_parquet(folder / "reliability.parquet")
                (folder / "records.parquet").touch()
                if trained:
                    description = {
                        **json.loads((folder / "run.json").read_text()),
                        "diverged": "its logits are not finite",
                    }
                    (folder / "run.json").write_text(json.dumps(description))
            return Results(root)

        return build

    def test_the_banner_counts_and_names_them(self, diverge):
        run = Run("acdc", "unet", "spatial", "0", 1)
        results = diverge([run])
        assert results.diverged == {run: "its logits are not finite"}
        assert results.banner == ("1 of 72 runs diverged: acdc/unet/spatial/lambda0/seed1.",)
        assert results.banner[0] in build_table("summary", results).markdown()
        assert set(results.records["metric"]) == {"dsc", "iou", "hd95", "frc_low", "frc_mid"}
        assert run not in results.runs()
        assert run not in results.trained()
        assert len(results.runs()) == len(results.trained()) == 71

    def test_the_banner_names_some_of_many(self, diverge):
        runs = [Run("acdc", "unet", form, lam, 0) for form in ("convex", "printed") for lam in ("0.1", "0.2", "0.5")]
        (banner,) = diverge(runs).banner
        assert banner.startswith("6 of 72 runs diverged: acdc/unet/convex/lambda0.1/seed0, ")
        assert banner.endswith(" and 1 more.")

    @pytest.mark.parametrize("trained", [True, False])
    def test_the_list_of_runs_marks_them(self, diverge, trained):
        results = diverge([Run("acdc", "unet", "spatial", "0", 1)], trained)
        states = read_runs(results).set_index(list(RUN_KEYS))["state"]
        assert states["acdc", "unet", "spatial", "0", 1] == "diverged"
        assert (states == "diverged").sum() == 1

    def test_outputs_are_built_although_the_baseline_diverged(self, diverge, study):
        results = diverge([run for run in Results(study).runs() if run.objective == "spatial"])
        compare(results.root / "records.parquet", "spatial", results.root / "comparisons.parquet")
        assert results.comparisons["difference"].isna().all()
        assert set(results.comparisons["unpaired"]) != {0}
        assert "12 of 72 runs diverged" in build_table("summary", results).markdown()
        build_figure("cost", results)
        build_figure("reliability", results)

    def test_outputs_are_built_although_all_diverged(self, diverge, study):
        results = diverge(Results(study).runs())
        compare(results.root / "records.parquet", "spatial", results.root / "comparisons.parquet")
        assert results.comparisons.empty
        assert results.records.empty
        assert "72 of 72 runs diverged" in build_table("summary", results).markdown()

    def test_without_divergence_there_is_no_warning(self, study, phantom, tmp_path):
        assert Results(study).banner == Results(tmp_path).banner == ()
        assert Results(phantom).banner == (BANNER,)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"text"])
def test_damaged_comparisons_are_named(official, tmp_path, content):
    (tmp_path / "comparisons.parquet").write_bytes(content)
    with pytest.raises(InputError, match=r"comparisons\.parquet: cannot be read as a table of comparisons"):
        _ = Results(tmp_path).comparisons


def test_comparisons_of_another_version_are_named(study, tmp_path):
    table = pd.read_parquet(study / "comparisons.parquet").drop(columns="p_holm")
    table.to_parquet(tmp_path / "comparisons.parquet")
    with pytest.raises(InputError, match=r"comparisons\.parquet: .*'p_holm' is missing"):
        _ = Results(tmp_path).comparisons
