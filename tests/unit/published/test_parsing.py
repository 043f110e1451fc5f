import numpy as np
import pytest

from spectralseg.errors import InputError
from spectralseg.published import parsing


def read_printed(file, *options):
    """The only table of a file."""
    (table,) = parsing.read_printed(file, *options).tables
    return table


def written(folder, text):
    file = folder / "results.csv"
    file.write_bytes(text.encode())
    return file


def test_a_wide_table(tmp_path):
    text = "\ufeff# from the appendix\nMethod,Dataset,DSC (%),mIoU ↑,HD95 [mm],Params\nUNet,polyps,88.40,79.2,12,32\n"
    table = read_printed(written(tmp_path, text))
    values = table.values.set_index("metric")
    assert values.index.tolist() == ["dsc", "iou", "hd95"]
    assert values["value"].tolist() == pytest.approx([0.884, 0.792, 12])
    assert values["half"].tolist() == pytest.approx([0.00005, 0.0005, 0.5])
    assert values["heading"].tolist() == ["DSC (%)", "mIoU ↑", "HD95 [mm]"]
    assert set(values["name"]) == {"UNet, polyps"}
    assert (table.unit, table.left_out) == ("percent", ("Params",))


@pytest.mark.parametrize(
    "heading",
    ["DSC", "dice", "Dice score", "Mean DSC", "mDice", "DSC_mean", "DSC (%)", "Dice ↑", "F1-score", "avg DSC"],
)
def test_headings(tmp_path, heading):
    assert read_printed(written(tmp_path, f"{heading}\n0.5\n")).values["metric"].tolist() == ["dsc"]


@pytest.mark.parametrize("heading", ["DSC std", "DSC loss", "Dice median", "time", "95% CI of DSC"])
def test_headings_of_something_else(tmp_path, heading):
    table = read_printed(written(tmp_path, f"IOU,{heading}\n0.5,0.1\n"))
    assert table.values["metric"].tolist() == ["iou"]
    assert table.left_out == (heading,)


@pytest.mark.parametrize(
    ("cell", "value", "half"),
    [
        ("0.90", 0.9, 0.005),
        ("0.9", 0.9, 0.05),
        (".9", 0.9, 0.05),
        ("1", 1, 0.5),
        ("9e-1", 0.9, 0.05),
        ("0.90 ± 0.03", 0.9, 0.005),
        ("0.90±.03", 0.9, 0.005),
        ("0.90 (0.85-0.95)", 0.9, 0.005),
        ("**0.90**", 0.9, 0.005),
        ("-0.20", -0.2, 0.005),
    ],
)
def test_cells(tmp_path, cell, value, half):
    (row,) = read_printed(written(tmp_path, f"method,DSC\na,{cell}\n")).values.to_dict("records")
    assert (row["value"], row["half"]) == (pytest.approx(value), pytest.approx(half))


@pytest.mark.parametrize("cell", ["", "-", "–", "n/a", "NaN", "inf", " "])
def test_missing_cells(tmp_path, cell):
    table = read_printed(written(tmp_path, f"method,DSC\na,{cell}\nb,0.5\n"))
    assert np.isnan(table.values["value"]).tolist() == [True, False]
    assert "1 values in share, 1 missing" in table.summary


@pytest.mark.parametrize(
    ("text", "unit", "scales"),
    [
        ("DSC,IOU\n88,79\n", None, [100, 100]),
        ("DSC,IOU\n0.88,0.79\n", None, [1, 1]),
        ("DSC,IOU\n0.8,0.4\n", "percent", [100, 100]),
        ("DSC,IOU\n88,0.4\n", "percent", [100, 100]),
        ("DSC,ECE,MCE\n88,0.04,0.20\n", None, [100, 1, 1]),  # calibration may be printed in another unit
        ("DSC,ECE,MCE\n88,0.9,3.1\n", None, [100, 100, 100]),
        ("DSC,IOU\n88,\n", None, [100, 1]),
    ],
)
def test_units(tmp_path, text, unit, scales):
    assert read_printed(written(tmp_path, text), unit).values["scale"].tolist() == scales


def test_the_users_own_columns_may_have_any_name(tmp_path):
    text = "name,group,unit,text,DSC,value\nx,y,z,w,0.5,7\n"
    table = read_printed(written(tmp_path, text))
    assert table.values["name"].tolist() == ["x, y, z, w"]
    assert table.left_out == ("value",)


def test_published_cells(published):
    table = read_printed(published / "table_2.csv")
    selected = table.values[(table.values["name"] == "ACDC, UNet(ours)") & (table.values["metric"] == "dsc")]
    (cell,) = selected.to_dict("records")
    assert (cell["text"], cell["heading"], cell["value"], cell["half"]) == ("89.69", "Mean DSC", 0.8969, 0.00005)
    assert cell["cell"] == ("acdc", "unet", "spatial_spectral", "0.2", "iid", "acdc", "none", "0", "mean", "dsc")
    assert table.values["unit"].nunique() == 52  # 4 methods × (8 + 3 classes and 2 means)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a valid table"),
        ("method,DSC\na,0.5,0.6\n", "is not a valid table"),
        ("method,DSC\n", "no column of a known metric has a number"),
        ("method,DSC\na,-\n", "no column of a known metric has a number"),
        ("method,score\na,0.5\n", "no column is a known metric"),
        ("method,DSC\na,about 0.5\n", "'about 0.5' below DSC of 'a' is not a number"),
        ("method,DSC\na,0,5\n", "is not a valid table"),
        ("method,DSC,DSC\na,0.5,0.6\n", "columns DSC and DSC are one metric"),
        ("method,DSC,Dice\na,0.5,0.6\n", "columns DSC and Dice are one metric"),
        ("method,class,DSC\na,x,0.5\na,x,0.6\n", "'a, x' appears twice"),
        ("method,DSC,IOU\na,88,0.79\n", "IOU is never above 1 and DSC is"),
        ("method,DSC\n\xff", "cannot be read"),
        ("method,DSC\na,1e400\n", "'1e400' below DSC of 'a' is not a number"),
        (f"method,DSC\na,{'9' * 20_000}\n", "a cell of more than 2000 characters"),
        (f"method,DSC\na,{'9' * 1999}\n", "'9{100}' below DSC of 'a' is not a number"),
        ("method,DSC\na,1e-99999999999999999999\n", "is not a number"),
        (f"method,DSC{',' * 1500}\n", "more than 1000 columns"),
        (f"method,{'(' * 3000}\n", "a cell of more than 2000 characters"),
    ],
)
def test_invalid_tables_raise(tmp_path, text, message):
    file = tmp_path / "results.csv"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=message) as output:
        read_printed(file)
    assert str(file) in str(output.value)


def test_a_missing_file_raises(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_printed(tmp_path / "none.csv")
