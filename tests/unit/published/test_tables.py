import pytest

from spectralseg.errors import InputError
from spectralseg.published.tables import COLUMNS, read_published

COUNTS = {"table_1": 56, "table_2": 104, "table_3": 32, "table_4": 32, "table_5": 32, "table_6": 20}
# Transcribed from the printed tables, one or more per dataset: row, block, group, column, value, bold.
SPOTS = {
    "table_1": [
        ("UNet", "", "Kvasir-SEG", "SP", 98.72, True),
        ("TransUNet", "", "ISIC-18", "SE", 86.30, False),
        ("UNet(ours)", "", "MoNuSeg", "IOU", 58.97, True),
        ("TransUNet(ours)", "", "BTSeg", "DSC", 87.19, True),
        ("UNet", "", "BTSeg", "IOU", 68.94, False),
    ],
    "table_2": [
        ("UNet", "Dice similarity coefficient", "Synapse", "GB", 61.86, True),
        ("TransUNet(ours)", "Dice similarity coefficient", "Synapse", "SM", 80.00, True),
        ("TransUNet", "Dice similarity coefficient", "ACDC", "RL", 86.80, False),
        ("TransUNet(ours)", "Hausdorff distance", "Synapse", "SP", 68.25, False),
        ("UNet(ours)", "Hausdorff distance", "ACDC", "Mean HD", 1.54, True),
    ],
    "table_3": [
        ("TransUNet", "", "ISIC-18 → ISIC-17", "SE", 82.84, True),
        ("UNet(ours)", "", "Kvasir-SEG → PolypGen", "DSC", 40.35, False),
    ],
    "table_4": [
        ("UNet", "", "Kvasir-SEG", "MCE", 15.85, True),
        ("TransUNet", "", "Kvasir → PolypGen", "MCE", 51.71, False),
    ],
    "table_5": [
        ("UNet", "", "Gaussian, ACDC", "DSC", 73.59, True),
        ("TransUNet(ours)", "", "Bernoulli, Synapse", "HD", 49.28, False),
    ],
    "table_6": [
        ("λ = 0.5", "", "Kviser-SEG", "IOU", 77.34, True),
        ("λ = 0.9", "", "ACDC", "HD", 3.77, False),
    ],
}


@pytest.mark.parametrize("name", COUNTS)
def test_every_printed_cell_is_there(published, name):
    table = read_published(published / f"{name}.csv")
    assert len(table.cells) == COUNTS[name]
    assert table.cells["value"].notna().all()
    assert table.title != name


@pytest.mark.parametrize(("name", "spot"), [(name, spot) for name, spots in SPOTS.items() for spot in spots])
def test_transcription(published, name, spot):
    cells = read_published(published / f"{name}.csv").cells
    row, block, group, column, value, bold = spot
    places = (cells["row"] == row) & (cells["block"] == block) & (cells["group"] == group) & (cells["column"] == column)
    (result,) = cells[places].to_dict("records")
    assert (result["value"], result["bold"]) == (value, bold)


def test_printed_means_follow_from_the_classes(published):
    cells = read_published(published / "table_2.csv").cells
    for (row, metric, dataset), group in cells.groupby(["row", "metric", "dataset"]):
        mean = group.loc[group["class"] == "mean", "value"].item()
        recomputed = group.loc[group["class"] != "mean", "value"].mean()
        known_exception = (row, metric, dataset) == ("UNet(ours)", "dsc", "acdc")
        if known_exception:
            assert mean == 89.69
            assert recomputed == pytest.approx(89.7533, abs=1e-3)
        else:
            assert mean == pytest.approx(recomputed, abs=0.0101)


def test_table_6_repeats_tables_1_and_2(published):
    rows = read_published(published / "table_6.csv").cells
    rows = rows[rows["lambda"] == "0.2"]
    for source, dataset in (("table_1", "kvasir_seg"), ("table_2", "acdc")):
        other = read_published(published / f"{source}.csv").cells
        other = other[(other["row"] == "UNet(ours)") & (other["dataset"] == dataset) & (other["class"] == "mean")]
        for cell in rows[rows["dataset"] == dataset].to_dict("records"):
            assert other.loc[other["metric"] == cell["metric"], "value"].item() == cell["value"]


def test_bold_marks_the_better_objective_of_each_backbone(published):
    """As a check of the transcription; ties are bold on both sides."""
    lower = {"hd95", "ece", "mce"}
    for name in ("table_1", "table_2", "table_3", "table_4", "table_5"):
        cells = read_published(published / f"{name}.csv").cells
        for (_, _, metric), pair in cells.groupby([cells["group"] + cells["column"], "architecture", "metric"]):
            best = pair["value"].min() if metric in lower else pair["value"].max()
            assert (pair["bold"] == (pair["value"] == best)).all(), (name, pair)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("88.77", "88.7x"), "value"),
        (lambda text: text.replace(",metric\n", ",measure\n"), "column 'metric' is missing"),
        (lambda text: text + text.splitlines()[-1] + "\n", "appears twice"),
        (lambda text: text.replace("mean,dsc", "mean,dice"), "is unknown; known metrics"),
    ],
)
def test_invalid_files_raise(published, tmp_path, change, message):
    text = (published / "table_1.csv").read_text(encoding="utf-8")
    (tmp_path / "table_1.csv").write_text(change(text), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_published(tmp_path / "table_1.csv")


def test_missing_file_raises(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_published(tmp_path / "table_9.csv")


def test_columns(published):
    for name in COUNTS:
        lines = (published / f"{name}.csv").read_text(encoding="utf-8").splitlines()
        header = next(line for line in lines if not line.startswith("#"))
        assert header.split(",") == list(COLUMNS)
