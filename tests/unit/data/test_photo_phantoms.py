"""Phantoms of the photographic datasets: irregularities of the originals, and their handling by the reader."""

from __future__ import annotations

import csv
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from spectralseg.data import phantoms
from spectralseg.data.cases import Case
from spectralseg.data.readers import read_cases
from spectralseg.data.specification import DatasetSpecification, read_specification
from spectralseg.data.splits import assign, read_list
from spectralseg.errors import InputError

DATASETS = Path(__file__).parents[3] / "workflow" / "rules" / "datasets"
ARCHIVES = {
    "kvasir_seg": ["kvasir-seg.zip"],
    "polypgen": ["PolypGen2021_MultiCenterData_v3.zip"],
    "isic2018": ["ISIC2018_Task1-2_Training_Input.zip", "ISIC2018_Task1_Training_GroundTruth.zip"],
    "isic2017": ["ISIC-2017_Test_v2_Data.zip", "ISIC-2017_Test_v2_Part1_GroundTruth.zip"],
}
CASES, SIDE = 12, 48


@dataclass(frozen=True)
class Unpacked:
    """A phantom with its archives unpacked into one folder."""

    archives: list[Path]
    root: Path
    specification: DatasetSpecification

    def read(self, **changes: Any) -> list[Case]:
        options = {**self.specification.reader_options, **changes}
        return read_cases(self.specification.reader, self.root, options)

    def pixels(self, path: str) -> NDArray[np.uint8]:
        (file,) = self.root.rglob(path)
        decoded = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        assert decoded is not None
        return decoded.astype(np.uint8)


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Unpacked]:
    made = {}
    for name in ARCHIVES:
        folder = tmp_path_factory.mktemp(name)
        archives = phantoms.generate(name, folder / "archives", cases=CASES, side=SIDE)
        for archive in archives:
            zipfile.ZipFile(archive).extractall(folder / "raw")
        made[name] = Unpacked(archives, folder / "raw", read_specification(DATASETS / f"{name}.smk"))
    return made


def members(archives: list[Path]) -> dict[str, bytes]:
    opened = [zipfile.ZipFile(archive) for archive in archives]
    return {name: archive.read(name) for archive in opened for name in archive.namelist()}


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_have_official_names(unpacked: dict[str, Unpacked], name: str) -> None:
    assert [archive.name for archive in unpacked[name].archives] == ARCHIVES[name]
    assert [source.file for source in unpacked[name].specification.sources] == ARCHIVES[name]


@pytest.mark.parametrize("name", ARCHIVES)
def test_same_arguments_same_bytes(unpacked: dict[str, Unpacked], tmp_path: Path, name: str) -> None:
    again = phantoms.generate(name, tmp_path / "again", cases=CASES, side=SIDE)
    other = phantoms.generate(name, tmp_path / "other", cases=CASES, side=SIDE, seed=1)
    first = unpacked[name].archives
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in first]
    assert all(a.read_bytes() != b.read_bytes() for a, b in zip(other, first, strict=True))


@pytest.mark.parametrize("name", ARCHIVES)
def test_every_case_loads(unpacked: dict[str, Unpacked], name: str) -> None:
    shapes = set()
    for case in unpacked[name].read():
        sample = case.load()
        assert sample.image.shape == (*sample.labels.shape, 3)
        assert sample.image.dtype == np.uint8
        assert set(np.unique(sample.labels)) <= {0, 1}
        assert sample.labels.mean() < 0.8
        assert sample.image.std() > 5
        assert case.group == case.id
        shapes.add(sample.labels.shape)
    assert len(shapes) > 3, "native sizes vary"
    assert any(rows != columns for rows, columns in shapes)


@pytest.mark.parametrize("name", ["kvasir_seg", "isic2018", "isic2017"])
def test_ids_are_official_and_parts_are_in_proportion(unpacked: dict[str, Unpacked], name: str) -> None:
    cases = unpacked[name].read()
    specification = unpacked[name].specification
    assert specification.split.list is not None
    listed = read_list(specification.split.list).parts
    assert {case.id for case in cases} < set(listed)
    assert len(listed) == specification.expected_cases
    counts = {part: sum(listed[case.id] == part for case in cases) for part in ("train", "validation", "test")}
    assert (
        counts
        == {
            "kvasir_seg": {"train": 12, "validation": 0, "test": 6},
            "isic2018": {"train": 12, "validation": 2, "test": 6},
            "isic2017": {"train": 0, "validation": 0, "test": 6},
        }[name]
    )
    parts = assign(cases, specification.split, dataset=name, allow_partial=True)
    assert "test" in parts.values()


@pytest.mark.parametrize("cases", [1, 2, 5, 60])
@pytest.mark.parametrize("name", ARCHIVES)
def test_any_number_of_cases(tmp_path: Path, name: str, cases: int) -> None:
    for archive in phantoms.generate(name, tmp_path / "archives", cases=cases, side=24):
        zipfile.ZipFile(archive).extractall(tmp_path / "raw")
    specification = read_specification(DATASETS / f"{name}.smk")
    result = read_cases(specification.reader, tmp_path / "raw", specification.reader_options)
    assign(result, specification.split, dataset=name, allow_partial=True)
    assert len(result) >= max(1, cases // 2)


def test_ood_partners_are_datasets() -> None:
    for name in ARCHIVES:
        for partner in read_specification(DATASETS / f"{name}.smk").ood:
            assert partner in ARCHIVES
    assert read_specification(DATASETS / "polypgen.smk").expected_cases == 1537


# Kvasir-SEG


def test_kvasir_masks_are_colour_jpeg_with_ringing(unpacked: dict[str, Unpacked]) -> None:
    values: set[int] = set()
    larger = 0
    for case in unpacked["kvasir_seg"].read():
        raw = unpacked["kvasir_seg"].pixels(f"masks/{case.id}.jpg")
        assert raw.shape[2] == 3
        values |= set(np.unique(raw).tolist())
        larger += int((raw[..., 0] > 0).sum()) > int(case.load().labels.sum())
    assert values - {0, 255}, "compression leaves other values"
    assert all(value <= 8 or value >= 247 for value in values)
    assert larger, "a threshold of 0 would make polyps larger"


def test_kvasir_boxes_are_not_listed(unpacked: dict[str, Unpacked]) -> None:
    (file,) = unpacked["kvasir_seg"].root.rglob("kavsir_bboxes.json")
    boxes = json.loads(file.read_text())
    cases = {case.id: case for case in unpacked["kvasir_seg"].read()}
    assert boxes.keys() == cases.keys()
    for case_id, entry in boxes.items():
        labels = cases[case_id].load().labels
        assert labels.shape == (entry["height"], entry["width"])
        (box,) = entry["bbox"]
        assert np.flatnonzero(labels.any(axis=0))[[0, -1]].tolist() == [box["xmin"], box["xmax"]]


# PolypGen


def test_polypgen_centres(unpacked: dict[str, Unpacked]) -> None:
    cases = unpacked["polypgen"].read()
    assert {case.attributes["centre"] for case in cases} == {f"C{i}" for i in range(1, 7)}
    parts = assign(cases, unpacked["polypgen"].specification.split, dataset="polypgen")
    assert set(parts.values()) == {"test"}


def test_polypgen_nests_its_top_folder_twice(unpacked: dict[str, Unpacked]) -> None:
    top = "PolypGen2021_MultiCenterData_v3"
    assert (unpacked["polypgen"].root / top / top / "data_C1").is_dir()


def test_polypgen_trailing_underscore(unpacked: dict[str, Unpacked]) -> None:
    polypgen = unpacked["polypgen"]
    assert list(polypgen.root.rglob("C3_EndoCV2021_00489_.jpg"))
    assert list(polypgen.root.rglob("C3_EndoCV2021_00489_mask.jpg"))
    assert "C3_EndoCV2021_00489" in {case.id for case in polypgen.read()}
    strict = polypgen.specification.reader_options["images"].replace("_?", "")
    with pytest.raises(InputError, match="00489_"):
        polypgen.read(images=strict)


def test_polypgen_sequence_frames_are_not_listed(unpacked: dict[str, Unpacked]) -> None:
    root = unpacked["polypgen"].root
    ids = {case.id for case in unpacked["polypgen"].read()}
    sequences = {path.stem for path in root.rglob("sequenceData/**/*.jpg")}
    everything = {path.stem.rstrip("_") for path in root.rglob("imagesAll_positive/*.jpg")}
    assert any("positive" in stem for stem in sequences)
    assert any("negative" in stem for stem in sequences)
    assert list(root.rglob("masks_seq2/*.txt"))
    assert ids < everything
    assert everything - ids <= sequences
    assert not ids & sequences


def test_polypgen_overlays_and_clutter_are_not_listed(unpacked: dict[str, Unpacked]) -> None:
    root = unpacked["polypgen"].root
    assert list(root.rglob("bbox_image_C1/957OLCV1_100H0002_mask_bbox.jpg"))
    assert list(root.rglob("bbox_images_C6/*.jpg"))
    assert not list(root.rglob("bbox_image_C6"))
    assert list(root.rglob("__MACOSX/**/images_C2/._*.jpg"))
    images = [path for path in root.rglob("data_C*/images_C*/*.jpg") if "__MACOSX" not in path.parts]
    ids = {case.id for case in unpacked["polypgen"].read()}
    assert len(ids) == len(images) == 12
    assert not any("bbox" in case or case.startswith(".") for case in ids)


def test_polypgen_boxes_are_incomplete_and_named_in_two_ways(unpacked: dict[str, Unpacked]) -> None:
    root = unpacked["polypgen"].root
    assert list(root.rglob("bbox_C1/*_mask.txt"))
    assert not list(root.rglob("bbox_C3/*_mask.txt"))
    assert len(list(root.rglob("bbox_C3/*.txt"))) < len(list(root.rglob("images_C3/*.jpg")))
    assert len(list(root.rglob("dataDetails_C*.csv"))) == 5


def test_polypgen_masks_are_grey_or_colour_jpeg(unpacked: dict[str, Unpacked]) -> None:
    polypgen = unpacked["polypgen"]
    files = [path for path in polypgen.root.rglob("data_C*/masks_C*/*.jpg") if "__MACOSX" not in path.parts]
    masks = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in files]
    assert {mask.ndim for mask in masks if mask is not None} == {2, 3}
    noisy = [mask for mask in masks if mask is not None and set(np.unique(mask)) - {0, 255}]
    assert noisy


def test_polypgen_frames_without_polyp_are_cases(unpacked: dict[str, Unpacked]) -> None:
    empty = [case for case in unpacked["polypgen"].read() if not case.load().labels.any()]
    assert {case.attributes["centre"] for case in empty} == {"C2", "C4"}


def test_polypgen_looks_different_from_kvasir(unpacked: dict[str, Unpacked]) -> None:
    kvasir, polypgen = unpacked["kvasir_seg"].read(), unpacked["polypgen"].read()
    assert hue(polypgen) > hue(kvasir) * 1.05


def hue(cases: list[Case]) -> float:
    """Ratios of green and blue to red, over pixels that are not black."""
    ratios = []
    for case in cases:
        image = case.load().image.astype(float)
        seen = image[image.sum(axis=2) > 60]
        ratios.append(seen[:, 1:].mean() / seen[:, 0].mean())
    return float(np.mean(ratios))


# ISIC


def test_isic_archives_hold_texts(unpacked: dict[str, Unpacked]) -> None:
    for name in ("isic2018", "isic2017"):
        for archive in unpacked[name].archives:
            assert {f"{archive.stem}/LICENSE.txt", f"{archive.stem}/ATTRIBUTION.txt"} <= members([archive]).keys()


def test_isic_masks_are_grey_png_in_one_piece(unpacked: dict[str, Unpacked]) -> None:
    for name in ("isic2018", "isic2017"):
        for case in unpacked[name].read():
            raw = unpacked[name].pixels(f"{case.id}_segmentation.png")
            assert raw.ndim == 2
            assert set(np.unique(raw)) == {0, 255}
            assert cv2.connectedComponents(raw)[0] == 2


def test_isic2017_superpixels_and_metadata_are_not_listed(unpacked: dict[str, Unpacked]) -> None:
    isic = unpacked["isic2017"]
    cases = isic.read()
    assert len(list(isic.root.rglob("*_superpixels.png"))) == len(cases) == 6
    (metadata,) = isic.root.rglob("*_metadata.csv")
    with metadata.open() as stream:
        assert {row["image_id"] for row in csv.DictReader(stream)} == {case.id for case in cases}
    careless = r"ISIC-2017_Test_v2_Data/(?P<id>ISIC_\d{7}.*)\.(jpg|png)"
    with pytest.raises(InputError, match="superpixels"):
        isic.read(images=careless)


def test_isic_shared_ids_are_the_same_files(unpacked: dict[str, Unpacked]) -> None:
    first, second = members(unpacked["isic2018"].archives), members(unpacked["isic2017"].archives)
    old, new = ({case.id for case in unpacked[name].read()} for name in ("isic2018", "isic2017"))
    shared = sorted(old & new)
    known = read_list("isic2018_bcdu_sorted").parts
    assert len(shared) == len(new) / 2
    assert set(shared) == {case for case in new if case in known}
    assert any(known[case] == "train" for case in shared), "a training image that is also tested on"
    for case in shared:
        pairs = [
            (f"ISIC2018_Task1-2_Training_Input/{case}.jpg", f"ISIC-2017_Test_v2_Data/{case}.jpg"),
            (
                f"ISIC2018_Task1_Training_GroundTruth/{case}_segmentation.png",
                f"ISIC-2017_Test_v2_Part1_GroundTruth/{case}_segmentation.png",
            ),
        ]
        assert all(first[a] == second[b] for a, b in pairs)


def test_isic_images_do_not_depend_on_their_number(tmp_path: Path) -> None:
    few, more = (
        members(phantoms.generate("isic2018", tmp_path / str(n), cases=n, side=SIDE)) for n in (CASES, 2 * CASES)
    )
    common = [name for name in few if name.endswith((".jpg", ".png")) and name in more]
    assert common
    assert all(few[name] == more[name] for name in common)


def test_isic2017_documented_duplicate(unpacked: dict[str, Unpacked]) -> None:
    files = members(unpacked["isic2017"].archives)
    for name in ("ISIC-2017_Test_v2_Data/{}.jpg", "ISIC-2017_Test_v2_Part1_GroundTruth/{}_segmentation.png"):
        assert files[name.format("ISIC_0012152")] == files[name.format("ISIC_0012216")]
    distinct = [content for name, content in files.items() if name.endswith(".jpg")]
    assert len(set(distinct)) == len(distinct) - 1


def test_isic2017_specific_images_look_different(unpacked: dict[str, Unpacked]) -> None:
    known = read_list("isic2018_bcdu_sorted").parts
    own = [case for case in unpacked["isic2017"].read() if case.id not in known and case.id != "ISIC_0012152"]
    assert len(own) == 2
    assert hue(own) > hue(unpacked["isic2018"].read()) * 1.05
