import functools
import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from matplotlib.transforms import Affine2D
from PIL import Image

from spectralseg.errors import InputError
from spectralseg.outputs import names
from spectralseg.reporting.drawing import style
from spectralseg.reporting.drawing.layout import STAMP
from spectralseg.reporting.drawing.saving import MAXIMUM_BYTES, save_figure
from spectralseg.reporting.example_cases import COUNT, example_cases, method_runs, spread
from spectralseg.reporting.figures import build_figure, write_figure
from spectralseg.reporting.figures.figure_3 import vary
from spectralseg.reporting.figures.figure_7 import largest_error
from spectralseg.reporting.figures.figure_9 import overlay
from spectralseg.reporting.results import Results

PUBLISHED = Path(__file__).parents[3] / "config" / "published"
FIGURES = names("figures")
WITH_IMAGES = [name for name in FIGURES if name.startswith(("figure_", "leakage_", "corruptions"))]
OF_CASES = [name for name in FIGURES if name.startswith("figure_")]


def texts(figure):
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def unseen_ticks(figure):
    """Labels of ticks beyond the ends of an axis, which are not drawn."""
    for axis in (axis for panel in figure.axes for axis in (panel.xaxis, panel.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
            if not low - 1e-9 <= tick.get_loc() <= high + 1e-9:
                yield from (tick.label1, tick.label2)


def drawn_texts(figure):
    """Visible texts and the boxes that they take on paper, in points."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    hidden = set(unseen_ticks(figure))
    for text in figure.findobj(Text):
        visible = text.get_visible() and (text.axes is None or text.axes.get_visible())
        if visible and text.get_text().strip() and text not in hidden:
            yield text, text.get_window_extent(canvas.get_renderer()).transformed(Affine2D().scale(72 / figure.dpi))


@pytest.fixture(scope="module")
def drawn():
    """``drawn(name, root)``: a figure of a results folder, drawn once."""

    @functools.cache
    def draw(name, root):
        with style.applied():
            return build_figure(name, Results(root))

    return draw


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_files(phantom, drawn, tmp_path, monkeypatch, name):
    figure = drawn(name, phantom)
    files = save_figure(figure, name, tmp_path)
    content = files.pdf.read_bytes()
    assert content[:5] == b"%PDF-"
    assert b"/FontFile2" in content  # TrueType
    assert b"/Type3" not in content
    with Image.open(files.png) as picture:
        assert min(picture.size) > 200
    assert 5_000 < files.png.stat().st_size <= MAXIMUM_BYTES
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"{name}.pdf", f"{name}.png"]


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_fits_a_page_and_is_legible(phantom, study, name):
    results = Results(phantom if name in WITH_IMAGES else study, PUBLISHED)
    with style.applied():
        figure = build_figure(name, results)
        texts_and_boxes = list(drawn_texts(figure))
    width, height = figure.get_size_inches()
    assert width <= style.PAGE_WIDTH + 1e-6
    assert height <= 10.2
    for text, box in texts_and_boxes:
        assert text.get_fontsize() >= 6, text
        assert box.x0 > -1, text
        assert box.y0 > -1, text
        assert box.x1 < 72 * width + 1, text
        assert box.y1 < 72 * height + 1, text
    for (text, box), (other, near) in itertools.combinations(texts_and_boxes, 2):
        across, along = (min(a[1], b[1]) - max(a[0], b[0]) for a, b in zip(_sides(box), _sides(near), strict=True))
        assert across < 1.5 or along < 1.5, (text, other)


def _sides(box):
    return (box.x0, box.x1), (box.y0, box.y1)


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_CASES)
def test_stamp_and_rule(official, phantom, drawn, name):
    stamped, plain = (texts(drawn(name, root)) for root in (phantom, official))
    assert STAMP in stamped
    assert STAMP not in plain
    assert "foreground area" in plain.replace("\n", " ")


@pytest.mark.parametrize(("name", "count"), [("figure_5", 0), ("figure_6", 3), ("figure_9", 1)])
def test_missing_runs_are_marked_and_counted(official, drawn, name, count):
    text = texts(drawn(name, official)).replace("\n", " ")
    assert text.count("no run") == count
    assert (f"Panels without a run: {count}." if count else "No run is missing.") in text


@pytest.mark.parametrize("name", OF_CASES)
def test_without_any_run(official, tmp_path, name):
    """Cases are then selected from the prepared datasets alone."""
    shutil.copytree(official / "prepared", tmp_path / "prepared")
    text = texts(build_figure(name, Results(tmp_path)))
    assert "no data" not in text
    if name not in ("figure_2", "figure_3"):
        assert "no run" in text


@pytest.mark.parametrize("name", FIGURES)
def test_without_anything(tmp_path, name):
    assert "no data" in texts(build_figure(name, Results(tmp_path)))


def test_omitted_datasets_are_listed(official, tmp_path):
    shutil.copytree(official / "prepared" / "acdc", tmp_path / "prepared" / "acdc")
    assert "left out (1): Synapse" in texts(build_figure("figure_7", Results(tmp_path))).replace("\n", " ")


def test_non_finite_activation_is_marked(official, tmp_path):
    shutil.copytree(official / "prepared" / "acdc", tmp_path / "prepared" / "acdc")
    run = method_runs(Results(official), "acdc")[0]
    with np.load(official / "runs" / run.folder / "examples.npz") as stored:
        arrays = {**stored, "cam": np.full_like(stored["cam"], np.inf)}
    file = tmp_path / "runs" / run.folder / "examples.npz"
    file.parent.mkdir(parents=True)
    np.savez(file, **arrays)
    text = texts(build_figure("figure_9", Results(tmp_path)))
    assert (text.count("not finite"), text.count("no run")) == (1, 3)


def test_one_row_of_corruptions_per_kind_of_modality(official, drawn, tmp_path):
    text = texts(drawn("corruptions", official))
    for label in ("ISIC-17", "Kvasir-SEG", "MoNuSeg", "Synapse", "ACDC", "patient motion", "specular highlights"):
        assert text.count(label) == 1
    assert "PolypGen" not in text
    folder = tmp_path / "prepared" / "acdc"
    shutil.copytree(official / "prepared" / "acdc", folder)
    info = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**info, "modality": "ultrasound"}))
    assert "no data" in texts(build_figure("corruptions", Results(tmp_path)))


def with_inner_maps(official, folder, inner):
    """ACDC with a configuration whose two networks have masked autoencoders; examples of each hold inner maps."""
    shutil.copytree(official / "prepared" / "acdc", folder / "prepared" / "acdc")
    shutil.copy(official / "records.parquet", folder)
    networks = {"unet": {"model": "unet"}, "transunet": {"model": "transunet"}}
    networks |= {name: {"model": "grcsf", "pretrained": ["half"]} for name in inner}
    block = {"datasets": ["acdc"], "architectures": list(networks), "objectives": ["spatial"], "seeds": [0]}
    config = {"name": "toy", "datasets": {"acdc": {}}, "architectures": networks, "grid": {"main": block}}
    config |= {"objectives": {"spatial": {"base": "bce_dice"}}, "pretraining": {"half": {"mask_ratio": 0.5}}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    source = official / "runs" / method_runs(Results(official), "acdc")[0].folder / "examples.npz"
    for name, maps in inner.items():
        with np.load(source) as stored:
            planes = {f"inner: {key}": np.full(stored["cam"].shape, 0.5, np.float16) for key in maps}
            target = folder / "runs" / "acdc" / name / "spatial" / "lambda0" / "seed0" / "examples.npz"
            target.parent.mkdir(parents=True)
            np.savez(target, **stored, **planes)
    return Results(folder)


def test_inner_maps_are_those_of_the_network_with_most(official, tmp_path):
    maps = ["reconstruction, 50 %", "residual, 50 %"]
    results = with_inner_maps(official, tmp_path, {"part": maps, "whole": [*maps, "importance, stride 8"]})
    figure = build_figure("inner_maps", results)
    text = texts(figure)
    for title in ("image", "reconstruction,\n50 %", "importance,\nstride 8", "prediction", "ACDC"):
        assert title in text
    assert "whole spatial, seed 0" in text
    assert text.count("DSC") == 3 + 1, "of each example, and in the footer"
    assert len(figure.axes) == 3 * 5


def test_an_unknown_figure_is_an_error(official, tmp_path):
    with pytest.raises(InputError, match="figure_1"):
        write_figure("figure_1", Results(official), tmp_path)


@pytest.mark.parametrize(("stored", "used"), [("abcdefgh", "ceg"), ("abcd", "bcd"), ("abc", "abc"), ("a", "a")])
def test_figures_use_up_to_three_of_the_stored_examples_at_quantiles(stored, used):
    assert "".join(spread(stored, COUNT)) == used


def test_case_ids_are_in_the_footer(official, drawn):
    text = texts(drawn("figure_5", official))
    for case in example_cases(Results(official), "kvasir_seg", "polypgen"):
        assert case.case in text


def test_all_methods_share_a_seed(official):
    assert {run.seed for run in method_runs(Results(official), "acdc")} == {0}


def test_largest_error():
    reference = np.zeros((20, 20), np.uint8)
    prediction = reference.copy()
    assert largest_error(prediction, reference) is None
    prediction[2, 2] = 1
    prediction[10:14, 5:12] = 2
    assert largest_error(prediction, reference) == (slice(10, 14), slice(5, 12))


def test_parseval_in_figure_3():
    mask = np.zeros((48, 48), bool)
    mask[10:30, 14:28] = True
    variations = {variation.title: variation for variation in vary(mask)}
    for variation in variations.values():
        in_space, complex_change, amplitude_change = variation.changes
        assert complex_change == pytest.approx(in_space)
        assert amplitude_change <= in_space + 1e-12
    assert variations["Shift 7 px"].changes[2] == pytest.approx(0, abs=1e-12)
    assert variations["Scale × 1.25"].mask.sum() == pytest.approx(1.25**2 * mask.sum(), rel=0.1)
    assert all(np.isnan(variation.changes).all() for variation in vary(np.zeros((48, 48), bool)))


def test_without_activation_the_image_remains():
    blended = overlay(np.full((4, 4, 3), 0.5), np.zeros((4, 4)), 0.0)
    assert blended.shape == (4, 4, 3)
    assert np.allclose(blended, 0.4)
