import itertools
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectralseg import cli
from spectralseg.data import open_prepared
from spectralseg.data.cases import Case, Sample
from spectralseg.data.prepared import FILES
from spectralseg.errors import InputError
from spectralseg.files import sha256_of
from spectralseg.reporting.cards import write_card
from spectralseg.reporting.cards.card import PHANTOM
from spectralseg.reporting.cards.charts import applied, intensity, native_sizes, percent
from spectralseg.reporting.cards.measures import BINS, intensities, measure
from spectralseg.reporting.cards.pictures import COUNT, examples, outlines

pytestmark = pytest.mark.slow

MOST_BYTES = 1_500_000
VOID = {"meta", "br", "img", "link", "input", "hr"}
NASTY = "<script>alert('ü')</script> & \"日本\" $x$ {{ 7 }}"


class Page(HTMLParser):
    """Elements, attributes and text of a page; fails where an element is not closed in order."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.texts, self.open = [], [], []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def card(data, tmp_path):
    """The written card of a prepared dataset."""
    file = tmp_path / "cards" / "card.html"
    write_card(data.path, file)
    return file.read_text(encoding="utf-8")


def describe(data, **keys):
    """Change keys of dataset.json; None removes one."""
    file = data.path / "dataset.json"
    info = {**json.loads(file.read_text(encoding="utf-8")), **keys}
    file.write_text(json.dumps({key: value for key, value in info.items() if value is not None}), encoding="utf-8")
    return open_prepared(data.path)


def square(name, side, place, *, spacing=None, labels=None, attributes=None, shape=(40, 50)):
    """A grey image with a bright square of a given side."""

    def load():
        mask = np.zeros(shape, np.uint8)
        mask[..., place : place + side, place : place + side] = 1
        image = np.random.default_rng(side).integers(0, 90, shape) + 150 * mask
        return Sample(image.astype(np.uint8), mask if labels is None else labels, spacing)

    return Case(name, name, load, attributes or {})


@pytest.fixture
def grey(toy_specification):
    """Specification of grey images, with any keys replaced."""
    return lambda **changes: toy_specification(channels=1, **changes)


@pytest.fixture(scope="module")
def heart_page(hearts, tmp_path_factory):
    return Page(card(hearts, tmp_path_factory.mktemp("hearts")))


def test_the_page_reports_every_fact(hearts, heart_page):
    info, text = hearts.info, heart_page.text
    for key in ("title", "modality", "licence", "citation", "homepage"):
        assert info[key] in text
    for name in (*info["classes"], *info["cases"], "phase", "disease", "SHA-256"):
        assert name in text
    assert info["split"]["provenance"] in text
    assert info["split"]["sha256"] in text
    for name in FILES:
        assert f"{name} {(hearts.path / name).stat().st_size:,} {sha256_of(hearts.path / name)}" in text
    counts = measure(hearts).counts
    for column in ("cases", "groups", "slices"):
        assert f"{column} {' '.join(str(n) for n in counts[column])}" in text
    assert f"grey {info['mean'][0]:.4f} {info['std'][0]:.4f}" in text
    assert "own 0 and 100 % percentiles" in text
    assert "Slices of a volume" in text
    assert re.search(r"Spacing of slices", text)
    assert "No case was excluded." in text


def test_classes_have_the_same_colours_everywhere(hearts, tmp_path):
    page = card(hearts, tmp_path)
    swatch = r'<i class="swatch" style="background:(#\w+)"></i>([\w ]+)'
    legend, table = (re.findall(before + swatch, page) for before in ("<li>", '<th scope="row">'))
    assert [name for _, name in legend] == list(hearts.classes)
    assert table == legend


def test_phantoms_have_a_banner_and_real_data_none(hearts, heart_page, toy, tmp_path):
    assert PHANTOM in heart_page.text
    page = Page(card(toy, tmp_path))
    assert PHANTOM not in page.text
    assert "files given by the user" in page.text


def test_exclusions_remarks_and_sources(prepare_cases, toy_cases, toy_specification, tmp_path):
    specification = toy_specification(exclude={"case00": "a copy of case01"})
    data = prepare_cases(tmp_path / "data", toy_cases(12), specification)
    source = {"file": "toy.zip", "url": "https://example.org/toy.zip", "bytes": 1234, "sha256": "ab" * 32}
    source |= {"published_checksum": True, "fetched": "2020-02-03"}
    remarks = {f"case{n:02}": ["the mask was grey"] for n in range(1, 9)} | {"case09": ["no extension", "turned"]}
    data = describe(data, remarks=remarks, sources=[source], versions={"numpy": "9.9"}, reduced_decoding=True)
    text = Page(card(data, tmp_path)).text
    assert "a copy of case01 1 case00" in text
    assert "the mask was grey 8 case01, case02, case03 and 5 more case04, case05, case06, case07, case08" in text
    assert "turned 1 case09" in text
    assert f"toy.zip 1,234 {'ab' * 32} as published https://example.org/toy.zip , 2020-02-03" in text
    assert "large JPEG images at reduced size" in text
    assert "numpy 9.9" in text


def test_leaked_cases_are_reported(prepare_cases, grey, tmp_path):
    parts = {"a": "train", "b": "validation", "c": "test", "d": "train"}
    cases = [square(name, 9 if name == "d" else 8, 3, attributes={"part": part}) for name, part in parts.items()]
    split = {"attribute": "part", "validation": ["validation"], "test": ["test"]}
    data = prepare_cases(tmp_path / "data", cases, grey(split=split), allow_partial=True)
    text = Page(card(data, tmp_path)).text
    assert "1 of 1 test cases match other cases of toy (1 train)" in text
    assert "1 of 1 validation cases match training cases (b = a), which biases model selection." in text
    assert "training cases match other training cases" not in text


@pytest.mark.parametrize(
    ("expected", "warning"), [(12, "the dataset has 10 of 12."), (10, ""), (None, "the dataset has 10.")]
)
def test_a_subset_is_reported(prepare_cases, toy_cases, toy_specification, tmp_path, expected, warning):
    specification = toy_specification(expected_cases=expected)
    data = prepare_cases(tmp_path / "data", toy_cases(10), specification, allow_partial=True)
    text = Page(card(data, tmp_path)).text
    assert warning in text
    assert ("subset of the official cases" in text) == bool(warning)


def test_the_page_is_self_contained(hearts, tmp_path):
    html = card(hearts, tmp_path)
    page = Page(html)
    assert not {"script", "link", "img", "iframe", "object", "embed"} & {tag for tag, _ in page.elements}
    for tag, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "srcset", "style"):
            value = attributes.get(name) or ""
            link = tag == "a" and value.startswith("https://")
            assert link or "//" not in value or value.startswith("data:image/jpeg;base64,"), (tag, value[:80])
    assert not re.search(r"@import|url\((?!#)", html)


def test_the_page_is_accessible(heart_page):
    assert ("html", {"lang": "en"}) in heart_page.elements
    levels = [int(tag[1]) for tag, _ in heart_page.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    pictures = heart_page.all("svg")
    assert len(pictures) >= COUNT
    assert all(picture["role"] == "img" and len(picture["aria-label"]) > 20 for picture in pictures)
    assert all("scope" in cell for cell in heart_page.all("th"))
    ids = [attributes["id"] for _, attributes in heart_page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_the_same_dataset_gives_the_same_bytes(hearts, tmp_path):
    assert card(hearts, tmp_path / "a") == card(hearts, tmp_path / "b")


@pytest.mark.filterwarnings("error:Glyph")
def test_text_is_escaped(prepare_cases, grey, tmp_path):
    long = "a_very_long_case_id_" * 12
    cases = [square(f"{NASTY}{n}", 4 + n, 10, attributes={NASTY: NASTY}) for n in range(4)] + [square(long, 9, 10)]
    data = prepare_cases(tmp_path / "data", cases, grey(exclude={long + "x": NASTY}))
    nasty = dict.fromkeys(("title", "modality", "licence", "citation"), NASTY)
    split = {"list": NASTY, "provenance": NASTY, "sha256": NASTY}
    data = describe(
        data,
        **nasty,
        source=NASTY,
        classes=[NASTY],
        homepage="javascript:alert(1)",
        split=split,
        excluded={NASTY: NASTY},
        remarks={NASTY: [NASTY]},
        sources=[{"file": NASTY, "url": NASTY, "sha256": None}],
        versions={NASTY: NASTY},
    )
    page = Page(card(data, tmp_path))
    assert not page.all("script")
    assert not [link for link in page.all("a") if not link["href"].startswith("http")]
    assert page.text.count(NASTY) >= 15
    assert long in page.text


def test_the_page_stays_small(prepare_cases, toy_specification, tmp_path):
    """Noise compresses worst."""

    def noise(n):
        labels = np.random.default_rng(n).random((512, 512)) < 0.02
        return Sample(np.random.default_rng(n).integers(0, 256, (512, 512, 3), np.uint8), labels.astype(np.uint8))

    cases = [Case(f"n{n:02}", f"n{n:02}", lambda n=n: noise(n)) for n in range(13)]
    data = prepare_cases(tmp_path / "data", cases, toy_specification(), image_size=512)
    assert len(card(data, tmp_path)) < MOST_BYTES


@pytest.mark.parametrize("sides", [[8], [0, 9], [0, 1, 40]])
def test_a_dataset_for_testing_only_of_any_size(prepare_cases, grey, tmp_path, sides):
    cases = [square(f"c{n}", side, 5) for n, side in enumerate(sides)]
    data = prepare_cases(tmp_path / "data", cases, grey(split={"everything": "test"}))
    page = Page(card(data, tmp_path))
    pictures = [svg for svg in page.all("svg") if svg["aria-label"].startswith("Case ")]
    assert len(pictures) == len(sides)
    assert ("without foreground" in page.text) == (0 in sides)
    assert "Every case is 50 × 40 pixels" in page.text


def test_optional_keys_may_be_missing(prepare_cases, toy_cases, tmp_path):
    data = prepare_cases(tmp_path / "data", toy_cases(10))
    optional = ["modality", "split", "excluded", "licence", "citation", "homepage", "intensity"]
    data = describe(data, **dict.fromkeys([*optional, "expected_cases", "allow_partial", "cases", "slices"]))
    text = Page(card(data, tmp_path)).text
    assert "Toy" in text
    assert "None" not in text


def test_recorded_spacing_is_reported(prepare_cases, grey, tmp_path):
    spacings = [(0.5, 0.5), (0.5, 0.5), None]
    cases = [square(f"c{n}", 5, 5, spacing=spacing) for n, spacing in enumerate(spacings)]
    text = Page(card(prepare_cases(tmp_path / "some", cases, grey()), tmp_path)).text
    assert "Spacing in the plane: 0.5 mm in every case that records it." in text
    assert "Spacing is recorded for 2 of 3 cases." in text
    cases = [square(f"c{n}", 5, 5, spacing=(0.5, 0.5 + n)) for n in range(3)]
    text = Page(card(prepare_cases(tmp_path / "skew", cases, grey()), tmp_path)).text
    assert "Spacing of rows: 0.5 mm in every case." in text
    assert "Spacing of columns" in text


class TestMeasures:
    def test_class_balance_agrees_with_the_masks(self, hearts):
        balance = measure(hearts).balance.set_index(["class", "part"])
        for label, name in enumerate(hearts.classes, 1):
            for part in ("train", "validation", "test"):
                masks = np.asarray(hearts.masks)[hearts.rows(part)] == label
                sizes = masks.mean((1, 2))
                row = balance.loc[(name, part)]
                assert row["pixels"] == pytest.approx(masks.mean())
                assert row["slices"] == pytest.approx((sizes > 0).mean())
                assert row["median"] == pytest.approx(np.median(sizes[sizes > 0]))
                cases = hearts.cases[hearts.cases["part"] == part]
                present = [
                    (np.asarray(hearts.masks[first : first + n]) == label).any()
                    for first, n in zip(cases["first"], cases["slices"], strict=True)
                ]
                assert row["cases"] == pytest.approx(np.mean(present))

    def test_intensities_agree_with_the_images(self, toy):
        shares, count = intensities(toy)
        rows = toy.rows("train")
        assert count == len(rows)
        for channel in range(3):
            expected, _ = np.histogram(np.asarray(toy.images)[rows][..., channel], BINS, (0, 256))
            np.testing.assert_allclose(shares[channel], expected / expected.sum())

    def test_images_are_sampled(self, toy, monkeypatch):
        monkeypatch.setattr("spectralseg.reporting.cards.measures.SAMPLE", 3)
        assert intensities(toy)[1] == 3

    def test_attributes_are_counted_by_part(self, hearts):
        table = measure(hearts).attributes["phase"]
        assert table.to_numpy().sum() == len(hearts.cases)
        for part in table.columns:
            here = hearts.cases[hearts.cases["part"] == part]["attributes"]
            assert table.at["ED", part] == sum(json.loads(text)["phase"] == "ED" for text in here)


class TestExamples:
    def test_an_empty_case_takes_the_last_place(self, prepare_cases, grey, tmp_path):
        cases = [square(f"c{n:02}", max(0, n - 3), 5) for n in range(30)]
        data = prepare_cases(tmp_path / "data", cases, grey(split={"everything": "test"}))
        selected = examples(measure(data))
        assert [bool(example.outlines) for example in selected] == [True] * (COUNT - 1) + [False]
        assert selected[-1].case == "c00"
        assert "no foreground" in selected[-1].caption[1]

    def test_larger_parts_get_the_places_of_small_ones(self, prepare_cases, grey, tmp_path):
        cases = [square(f"c{n:02}", 3 + n, 5, attributes={"n": str(n)}) for n in range(30)]
        split = {"attribute": "n", "test": ["0"], "validation": ["1", "2"]}
        data = prepare_cases(tmp_path / "data", cases, grey(split=split))
        parts = [example.caption[0].split()[0] for example in examples(measure(data))]
        assert parts == ["train"] * (COUNT - 3) + ["validation"] * 2 + ["test"]

    def test_volumes_show_the_slice_with_the_largest_foreground(self, hearts):
        measures = measure(hearts)
        for example in examples(measures):
            (case,) = np.flatnonzero(hearts.cases["case"] == example.case)
            areas = measures.foreground[measures.row_cases == case]
            assert f"slice {areas.argmax() + 1} of {len(areas)} · {percent(areas.max())}" in example.caption[1]

    def test_outlines_follow_the_labels(self):
        labels = np.zeros((40, 40), np.uint8)
        labels[5:25, 10:30] = 1
        labels[10:15, 15:20] = 0
        labels[30, 30] = 2
        ring, dot = outlines(labels, ["ring", "dot"])
        assert (ring.name, dot.name) == ("ring", "dot")
        assert ring.path.count("M") == 2, "the hole has its own outline"
        assert {"10.5,5.5", "29.5,24.5"} <= set(re.findall(r"[\d.]+,[\d.]+", ring.path))
        assert dot.path == "M30.5,30.5z"


class TestBadInput:
    def damaged(self, prepare_cases, toy_cases, tmp_path, name, array):
        data = prepare_cases(tmp_path / "data", toy_cases(10))
        np.save(data.path / name, array(np.load(data.path / name)))
        return data.path

    @pytest.mark.parametrize(
        ("name", "array", "message"),
        [
            ("masks.npy", lambda a: a[1:], "shape is"),
            ("images.npy", lambda a: a[..., :1], "shape is"),
            ("masks.npy", lambda a: a + 1, "labels above 1"),
        ],
    )
    def test_mismatched_arrays_raise(self, prepare_cases, toy_cases, tmp_path, name, array, message):
        path = self.damaged(prepare_cases, toy_cases, tmp_path, name, array)
        out = tmp_path / "card.html"
        with pytest.raises(InputError, match=message):
            write_card(path, out)
        assert not out.exists()

    def test_mismatched_statistics_raise(self, prepare_cases, toy_cases, tmp_path):
        with pytest.raises(InputError, match=r"'mean' is .*for each channel"):
            describe(prepare_cases(tmp_path / "data", toy_cases(10)), mean=[0.5])
        with pytest.raises(InputError, match=r"'mean' is .*for each channel"):
            write_card(tmp_path / "data", tmp_path / "card.html")

    def test_a_damaged_case_table_raises(self, prepare_cases, toy_cases, tmp_path):
        data = prepare_cases(tmp_path / "data", toy_cases(10))
        file = data.path / "cases.csv"
        file.write_text(file.read_text().replace("[40, 40]", "[40, 4", 1))
        with pytest.raises(InputError, match=r"cases\.csv: native shape of case 'case00' cannot be read"):
            write_card(data.path, tmp_path / "card.html")

    def test_no_cases_raise(self, prepare_cases, toy_cases, tmp_path):
        data = prepare_cases(tmp_path / "data", toy_cases(10))
        file = data.path / "cases.csv"
        file.write_text(file.read_text().splitlines()[0] + "\n")
        with pytest.raises(InputError, match="there are no cases"):
            write_card(data.path, tmp_path / "card.html")


def test_the_command(toy, tmp_path, capsys):
    assert cli.main(["card", str(toy.path), "--out", str(tmp_path / "a" / "card.html")]) == 0
    assert (tmp_path / "a" / "card.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert cli.main(["card", str(tmp_path), "--out", str(tmp_path / "card.html")]) == 1
    assert "not a prepared dataset" in capsys.readouterr().err


def test_many_sizes_share_marks():
    numbers = np.random.default_rng(0).integers(500, 5000, (2, 3000)).astype(float)
    with applied():
        chart = native_sizes(*numbers, np.array(["train"] * 3000))
    assert "3000 different native sizes" in chart
    assert len(chart) < 500_000


def test_tick_labels_contain_no_math_markup(hearts, toy, tmp_path):
    """SVG text is not rendered as a formula, so math markup would be visible."""
    for data in (hearts, toy):
        assert "mathdefault" not in card(data, tmp_path / data.name)
    with applied():
        assert "mathdefault" not in intensity(np.full((3, BINS), 1 / BINS), [0.5] * 3, [0.2] * 3)


@given(st.floats(0, 1))
def test_percent_is_short_and_accurate(share):
    text = percent(share).replace("\N{NO-BREAK SPACE}", " ")
    if text.startswith("<"):
        assert 0 < 100 * share < 0.001
    else:
        assert text.endswith(" %")
        assert float(text[:-2]) == pytest.approx(100 * share, rel=0.005)
        assert len(text) <= 10


def test_percent_of_nan_is_a_dash():
    assert percent(float("nan")) == "–"


def test_charts_have_unique_ids():
    with applied():
        charts = [native_sizes(np.array([1.0, n]), np.array([2.0, 3]), np.array(["train", "test"])) for n in (5, 6)]
    first, second = (set(re.findall(r' id="([^"]+)"', chart)) for chart in charts)
    assert first
    assert not first & second
