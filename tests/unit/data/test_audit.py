import hashlib
import io
import json
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from spectralseg.data import prepare as preparation
from spectralseg.data.audit import (
    DEVELOPMENT,
    PAIRS,
    REPEATS,
    count_by_part,
    development_file,
    leak_free,
    no_audit,
    read_audit,
)
from spectralseg.data.audit_datasets import audit_datasets
from spectralseg.data.cases import Case, Sample
from spectralseg.data.duplicates import (
    HASH_BITS,
    ImageHashes,
    exact_matches,
    hash_images,
    near_duplicates,
    split_list_cases,
)
from spectralseg.data.geometry import Geometry
from spectralseg.data.splits import PARTS
from spectralseg.errors import InputError

SIDE = 64


def picture(number, side=SIDE):
    """Soft shapes under a fine texture; different numbers give different images."""
    rng = np.random.default_rng(number)
    layers = [rng.uniform(-strength, strength, (grain, grain, 3)) for grain, strength in ((6, 80), (16, 40))]
    return np.clip(
        128 + sum(cv2.resize(layer, (side, side), interpolation=cv2.INTER_CUBIC) for layer in layers), 0, 255
    ).astype(np.uint8)


def case(name, image, group=None, file=None):
    labels = np.zeros(image.shape[:-1] if image.shape[-1] == 3 else image.shape, np.uint8)
    labels[..., :4, :4] = 1
    geometry = Geometry(np.eye(4), "SAR") if labels.ndim == 3 else None
    return Case(name, group or name, lambda: Sample(image, labels, geometry=geometry), image=file)


@pytest.fixture
def dataset(tmp_path, prepare_cases, toy_specification, monkeypatch):
    """Prepare cases of given parts: ``dataset("a", train=[...], test=[...])``; also without test cases."""
    monkeypatch.setattr(preparation, "_refuse_untested", lambda raw, parts: None)

    def build(name, *, namespace=None, ood=(), dimensions=2, channels=3, size=SIDE, **parts):
        cases = [replace(item, attributes={"part": part}) for part, items in parts.items() for item in items]
        split = {"attribute": "part", "validation": ["validation"], "test": ["test"]}
        if set(parts) == {"test"}:
            split = {"everything": "test"}
        specification = toy_specification(
            name=name, split=split, id_namespace=namespace, ood=ood, dimensions=dimensions, channels=channels
        )
        return prepare_cases(tmp_path / name, cases, specification, image_size=size, allow_partial=True)

    return build


def kinds(leaks):
    return sorted(map(tuple, leaks[["test_case", "kind", "train_case", "train_part"]].to_numpy()))


def training(numbers=range(4), side=SIDE):
    return {"train": [case(f"t{n}", picture(n, side)) for n in numbers], "validation": [case("v", picture(90, side))]}


class TestPublishedLists:
    """Split of ISIC-2018 Task 1 by BCDU-Net and the official test images of ISIC-2017, compared by id alone."""

    @pytest.fixture
    def lists(self):
        return split_list_cases("isic2018_bcdu_sorted"), split_list_cases("isic2017_official_test")

    def test_counts_of_leaked_test_images_per_part(self, lists):
        matches = exact_matches("id", *lists)
        assert count_by_part(matches) == {"train": 108, "validation": 61, "test": 360}
        assert len(matches) == 529
        assert len(lists[1]) == 600

    @pytest.mark.parametrize(
        ("up_to", "count", "sha256"),
        [
            ("train", 492, "eee4d2331d26ec94daccbcf28e8100daf66829dc154adb918b1d4444c5b081a1"),
            ("validation", 431, "4d960a93a180fc9c7a7ac8f24448a15441af01a2fa742b20d3c42bcc41adfece"),
            ("test", 71, "a4c824c61756888756177d35dc0126c384018041ec1a28e33039498feb96b082"),
        ],
    )
    def test_leak_free_test_images(self, lists, up_to, count, sha256):
        cases = leak_free(exact_matches("id", *lists), lists[1]["case"], up_to)
        assert len(cases) == count
        assert hashlib.sha256("".join(f"{case}\n" for case in cases).encode()).hexdigest() == sha256


class TestKinds:
    def test_ids_match_within_a_namespace_only(self, dataset):
        first = dataset("first", namespace="shared", train=[case("x", picture(1))], validation=[case("y", picture(2))])
        second = dataset("second", namespace="shared", test=[case("x", picture(3)), case("z", picture(4))])
        other = dataset("other", test=[case("x", picture(5))])
        result = audit_datasets([first, second, other])
        assert kinds(result.leaks) == [("x", "id", "x", "train")]
        assert set(result.leaks["test_dataset"]) == {"second"}

    def test_bytes_match_across_namespaces(self, dataset, tmp_path):
        for name, content in (("one.jpg", b"same"), ("two.jpg", b"same"), ("three.jpg", b"other")):
            (tmp_path / name).write_bytes(content)
        first = dataset(
            "first",
            train=[case("a", picture(1), file=tmp_path / "one.jpg")],
            validation=[case("b", picture(2)), case("c", picture(6))],
        )
        second = dataset(
            "second",
            test=[
                case("x", picture(3), file=tmp_path / "two.jpg"),
                case("y", picture(4), file=tmp_path / "three.jpg"),
                case("z", picture(5)),
            ],
        )
        assert kinds(audit_datasets([first, second]).leaks) == [("x", "bytes", "a", "train")]

    def test_cases_of_one_patient_match(self, dataset):
        first = dataset(
            "first",
            namespace="shared",
            train=[case("a1", picture(1), "a"), case("a2", picture(2), "a"), case("x", picture(3), "x")],
            validation=[case("b1", picture(4), "b")],
        )
        second = dataset(
            "second",
            namespace="shared",
            test=[case("a3", picture(5), "a"), case("b2", picture(6), "b"), case("x", picture(7), "x")],
        )
        assert kinds(audit_datasets([first, second]).leaks) == [
            ("a3", "group", "a1", "train"),
            ("a3", "group", "a2", "train"),
            ("b2", "group", "b1", "validation"),
            ("x", "id", "x", "train"),
        ]

    def test_duplicates_within_a_test_set(self, dataset):
        """Both cases of a pair are reported; several pictures of one patient are not."""
        twins = [case("x", picture(7)), case("y", picture(7)), case("z1", picture(8), "z"), case("z2", picture(8), "z")]
        result = audit_datasets([dataset("only", test=twins)])
        assert kinds(result.leaks) == [("x", "near_duplicate", "y", "test"), ("y", "near_duplicate", "x", "test")]
        assert result.pairs.iloc[0][["role", "cases", *PARTS]].tolist() == ["own", 4, 0, 0, 2]
        result.refuse()  # no training dataset

    def test_training_cases_in_the_test_part_of_the_same_dataset(self, dataset):
        data = dataset("own", **training(), test=[case("x", picture(2)), case("y", picture(50))])
        result = audit_datasets([data])
        assert kinds(result.leaks) == [("x", "near_duplicate", "t2", "train")]
        with pytest.raises(InputError, match=r"own: 1 of 2 test cases match other cases of own \(1 train\); "):
            result.refuse()


def jpeg(quality):
    def degrade(image):
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=quality)
        return np.asarray(Image.open(stream))

    return degrade


def resized(factor):
    return lambda image: np.asarray(
        Image.fromarray(image).resize((round(image.shape[1] * factor), round(image.shape[0] * factor)))
    )


def levels(factor, offset):
    return lambda image: np.clip((image - 128.0) * factor + 128 + offset, 0, 255).astype(np.uint8)


COPIES = {
    "compressed": jpeg(50),
    "much compressed": jpeg(30),
    "halved": resized(0.5),
    "doubled": resized(2),
    "brighter": levels(1, 25),
    "darker": levels(1, -25),
    "flatter": levels(0.7, 0),
    "steeper": levels(1.3, 0),
    "tinted": lambda image: np.clip(image * np.array([1.1, 1.0, 0.85]), 0, 255).astype(np.uint8),
    "several": lambda image: jpeg(50)(levels(1.1, 10)(resized(0.5)(image))),
}


@pytest.mark.slow
class TestNearDuplicates:
    @pytest.mark.parametrize("size", [64, 224])
    def test_copies_match_and_other_images_do_not(self, dataset, size):
        originals = dataset("originals", size=size, **training(range(len(COPIES) + 1), 160))
        copies = [case(name, copy(picture(n, 160))) for n, (name, copy) in enumerate(COPIES.items())]
        others = [case(f"other {n}", picture(n, 160)) for n in range(100, 110)]
        result = audit_datasets([originals, dataset("copies", size=size, test=[*copies, *others])])
        expected = [(name, "near_duplicate", f"t{n}", "train") for n, name in enumerate(COPIES)]
        assert kinds(result.leaks) == sorted(expected)
        assert result.leaks["distance"].between(0, HASH_BITS).all()

    def test_mirrored_rotated_and_cropped_copies_are_not_detected(self, dataset):
        """A documented limit."""
        image = picture(0, 160)
        changed = {"mirrored": image[:, ::-1], "rotated": image[::-1, ::-1], "cropped": image[8:-8, 8:-8]}
        copies = [case(name, np.ascontiguousarray(copy)) for name, copy in changed.items()]
        assert audit_datasets(
            [dataset("originals", **training(range(3), 160)), dataset("copies", test=copies)]
        ).leaks.empty

    @pytest.mark.parametrize("name", ["synapse", "acdc", "btseg", "kvasir_seg", "polypgen", "isic2018", "monuseg"])
    def test_phantom_cases_of_different_groups_do_not_match(self, prepared_phantom, name):
        data = prepared_phantom(name, 64)
        hashes = hash_images(data)
        assert len(np.unique(hashes.case)) == len(data.cases)
        as_test = data.cases.assign(part="test")
        matches = near_duplicates(hashes, ImageHashes(as_test, hashes.case, hashes.bits, hashes.thumbnail))
        group = data.cases.set_index("case")["group"]
        other_group = group[matches["test_case"]].to_numpy() != group[matches["train_case"]].to_numpy()
        assert (matches["test_case"] == matches["train_case"]).sum() == len(data.cases)
        assert not other_group.any()

    def test_constant_images_are_counted_not_matched(self, dataset):
        flat = np.full((SIDE, SIDE, 3), 90, np.uint8)
        first = dataset("first", train=[case("a", flat)], validation=[case("b", picture(1)), case("c", picture(2))])
        result = audit_datasets([first, dataset("second", test=[case("x", flat), case("y", picture(3))])])
        assert result.leaks.empty
        assert result.pairs["not_hashed"].tolist() == [1, 1]
        assert audit_datasets([first, dataset("third", test=[case("z", flat), case("y", picture(4))])]).leaks.empty

    def test_16_bit_images_match_8_bit_images(self, dataset, prepare_cases, toy_specification, tmp_path):
        grey = [picture(n)[..., 0] for n in range(3)]
        parts = {"train": [case("t", grey[0])], "validation": [case("v", grey[1]), case("w", grey[2])]}
        first = dataset("first", channels=1, **parts)
        windowed = toy_specification(
            name="second", channels=1, split={"everything": "test"}, intensity={"window": [0, 255]}
        )
        second = prepare_cases(tmp_path / "second", [case("x", grey[0].astype(np.int16))], windowed, image_size=SIDE)
        assert (first.images.dtype, second.images.dtype) == (np.uint8, np.uint16)
        assert kinds(audit_datasets([first, second]).leaks) == [("x", "near_duplicate", "t", "train")]


def volume(numbers):
    return np.stack([picture(n)[..., 0] for n in numbers])


class TestVolumes:
    @pytest.fixture
    def first(self, dataset):
        cases = {"train": [case("t", volume(range(8)))], "validation": [case("v", volume(range(20, 26)))]}
        return dataset("first", dimensions=3, channels=1, **cases)

    @pytest.mark.parametrize(("shared", "match"), [(8, True), (4, True), (3, False)])
    def test_half_of_the_slices_must_match(self, first, dataset, shared, match):
        test = case("x", volume([*range(shared), *range(50, 58 - shared)]))
        second = dataset("second", dimensions=3, channels=1, test=[test])
        assert kinds(audit_datasets([first, second]).leaks) == [("x", "near_duplicate", "t", "train")] * match

    def test_slices_that_match_different_cases_are_not_added_up(self, first, dataset):
        second = dataset("second", dimensions=3, channels=1, test=[case("x", volume([0, 1, 20, 21, 60, 61]))])
        assert audit_datasets([first, second]).leaks.empty

    def test_constant_slices_do_not_count(self, first, dataset):
        empty = np.zeros((6, SIDE, SIDE), np.uint8)
        second = dataset("second", dimensions=3, channels=1, test=[case("x", np.concatenate([volume([0, 50]), empty]))])
        assert kinds(audit_datasets([first, second]).leaks) == [("x", "near_duplicate", "t", "train")]
        assert audit_datasets([first, second]).pairs["not_hashed"].tolist() == [0, 0]


class TestDevelopment:
    """Duplicates within training and validation data, as in Kvasir-SEG and ACDC: its published lists put two patients
    with the same images into different parts."""

    @pytest.fixture
    def result(self, dataset, tmp_path):
        for name, content in (("one.jpg", b"same"), ("two.jpg", b"same"), ("three.jpg", b"other")):
            (tmp_path / name).write_bytes(content)
        train = [case("t0", picture(0)), case("t2", picture(1)), case("t1", picture(1)), case("z", picture(2), "p")]
        train += [case("f1", picture(3), "q", tmp_path / "one.jpg"), case("f2", picture(4), "q", tmp_path / "two.jpg")]
        train.append(case("y", picture(2), "p"))
        validation = [case("v0", jpeg(50)(picture(0))), case("v1", picture(5)), case("v2", picture(5))]
        validation.append(case("v3", picture(6), file=tmp_path / "three.jpg"))
        test = [case("x", picture(70))]
        return audit_datasets([dataset("own", train=train, validation=validation, test=test)])

    def test_every_match_is_reported_once(self, result):
        assert list(result.repeats.columns) == list(REPEATS)
        assert list(map(tuple, result.repeats[list(REPEATS[:-1])].to_numpy())) == [
            ("own", "f1", "train", "bytes", "f2", "train"),
            ("own", "t1", "train", "near_duplicate", "t2", "train"),
            ("own", "v0", "validation", "near_duplicate", "t0", "train"),
            ("own", "v1", "validation", "near_duplicate", "v2", "validation"),
        ]
        assert result.repeats["distance"].isna().tolist() == [True, False, False, False]

    def test_counts_and_findings(self, result):
        assert list(result.development.columns) == list(DEVELOPMENT)
        counts = result.development[["part", "match_part", "cases", "not_hashed", "matching"]].to_numpy().tolist()
        assert counts == [
            ["validation", "train", 4, 0, 1],
            ["validation", "validation", 4, 0, 2],
            ["train", "train", 7, 0, 4],
        ]
        assert result.findings() == [
            "own: 1 of 4 validation cases match training cases (v0 = t0), which biases model selection",
            "own: 2 of 4 validation cases match other validation cases (v1 = v2), which weigh more in model selection",
            "own: 4 of 7 training cases match other training cases (f1 = f2, t1 = t2), which weigh more in training",
        ]

    def test_duplicates_in_development_data_are_no_leaks(self, result):
        assert result.leaks.empty
        assert result.matching.empty
        assert len(result.leaked_cases("test")) == 0
        result.refuse()

    def test_a_volume_within_a_longer_one_matches_in_either_part(self, dataset):
        short, long = volume(range(4)), volume(range(12))
        for train, validation in ((short, long), (long, short)):
            data = dataset(
                "own", dimensions=3, channels=1, train=[case("t", train)], validation=[case("v", validation)]
            )
            assert audit_datasets([data]).repeats[["case", "match"]].to_numpy().tolist() == [["v", "t"]]

    def test_findings_of_some_datasets(self, dataset, result):
        other = audit_datasets([dataset("other", **training(), test=[case("x", picture(2))])])
        assert result.findings({("own", "elsewhere")}) == result.findings()
        assert result.findings({("elsewhere", "own")}) == []
        assert other.findings({("other", "other")}) == ["other: 1 of 1 test cases match other cases of other (1 train)"]
        assert other.findings({("other", "own")}) == []

    def test_further_matches_are_counted(self, dataset):
        data = dataset("own", train=[case(f"t{n}", picture(1)) for n in range(4)], validation=[case("v", picture(2))])
        (finding,) = audit_datasets([data]).findings()
        assert "4 of 4 training cases match other training cases (t0 = t1, t0 = t2, t0 = t3 and 3 more)" in finding


class TestPairs:
    def test_every_pair_of_equal_channels_is_compared(self, dataset):
        grey = {"train": [case("t", picture(1)[..., 0])], "validation": [case("v", picture(2)[..., 0])]}
        sets = [
            dataset("first", ood=["third"], **training(), test=[case("x", picture(60))]),
            dataset("second", **training(range(10, 13)), test=[case("x", picture(61))]),
            dataset("third", test=[case("x", picture(62))]),
            dataset("grey", channels=1, **grey, test=[case("x", picture(63)[..., 0])]),
            dataset("untested", **training(range(20, 23))),
        ]
        pairs = audit_datasets(sets).pairs
        assert list(pairs.columns) == list(PAIRS)
        assert list(map(tuple, pairs[["train_dataset", "test_dataset", "role"]].to_numpy())) == [
            ("first", "first", "own"),
            ("first", "second", "other"),
            ("first", "third", "ood"),
            ("second", "first", "other"),
            ("second", "second", "own"),
            ("second", "third", "other"),
            ("third", "third", "own"),
            ("grey", "grey", "own"),
            ("untested", "first", "other"),
            ("untested", "second", "other"),
            ("untested", "third", "other"),
        ]
        assert set(pairs["finding"]) == {""}

    def test_leaks_between_datasets_that_are_not_tested_together_are_not_refused(self, dataset):
        first, second = dataset("first", **training()), dataset("second", test=[case("x", picture(2))])
        result = audit_datasets([first, second])
        assert result.matching["finding"].tolist() == [
            "first → second: 1 of 1 test cases match cases of first (1 train)"
        ]
        result.refuse()
        partner = dataset("first", ood=["second"], **training())
        with pytest.raises(InputError, match="first → second: 1 of 1"):
            audit_datasets([partner, second]).refuse()

    def test_the_error_names_the_worst_pair_and_counts_the_others(self, dataset):
        first = dataset("first", ood=["second", "third"], **training())
        second = dataset("second", test=[case("x", picture(2)), case("y", picture(70))])
        third = dataset("third", test=[case("x", picture(0)), case("y", picture(90)), case("z", picture(71))])
        with pytest.raises(
            InputError, match=r"^first → third: 2 of 3 .* \(1 train, 1 validation\) \(further pairs that leak: 1\); "
        ):
            audit_datasets([first, second, third]).refuse()

    def test_duplicate_datasets_raise(self, dataset):
        data = dataset("first", **training())
        with pytest.raises(InputError, match="'first' is given twice"):
            audit_datasets([data, data])

    def test_without_test_data_no_pair_is_compared(self, dataset):
        assert audit_datasets([]).pairs.empty
        alone = audit_datasets([dataset("first", **training())])
        assert alone.pairs.empty
        assert alone.development["matching"].tolist() == [0, 0, 0]


class TestBTSeg:
    """Families of patient numbers, MR051651 and MR051651B, which the published folds separate."""

    def test_published_folds_separate_a_family_and_the_split_by_family_does_not(self, prepared_phantom):
        data = prepared_phantom("btseg")
        fold = data.cases["attributes"].map(lambda text: json.loads(text)["fold"])
        published = data.cases.assign(part=np.where(fold == "5", "test", "train"))
        matches = exact_matches("group", published, published)
        assert (matches["train_part"] == "train").any()
        assert "MR051651" in set(data.cases.set_index("case")["group"][matches["test_case"]])
        assert not audit_datasets([data]).matching["finding"].tolist()


class TestFiles:
    @pytest.fixture
    def result(self, dataset):
        with_duplicate = [*training()["train"], case("t", picture(0))]
        first = dataset("first", train=with_duplicate, validation=training()["validation"])
        return audit_datasets([first, dataset("second", test=[case("x", picture(1))])])

    def test_round_trip(self, result, tmp_path):
        for audit in (result, no_audit()):
            audit.write(tmp_path / "leakage.parquet")
            reread = read_audit(tmp_path / "leakage.parquet")
            for name in ("leaks", "pairs", "repeats", "development"):
                written, read = getattr(audit, name), getattr(reread, name)
                assert len(written) > 0 or audit is not result
                pd.testing.assert_frame_equal(read, written, check_dtype=len(written) > 0)

    def test_an_older_audit_has_no_matches_within_training_data(self, result, tmp_path):
        file = tmp_path / "leakage.parquet"
        result.write(file)
        development_file(file).unlink()
        development_file(file).with_suffix(".csv").unlink()
        reread = read_audit(file)
        assert len(reread.leaks) == len(result.leaks) > 0
        assert reread.development.empty
        assert reread.repeats.empty

    @pytest.mark.parametrize("name", ["leakage", "leakage_development"])
    @pytest.mark.parametrize("ending", ["parquet", "csv"])
    def test_missing_and_foreign_files_raise(self, result, tmp_path, name, ending):
        result.write(tmp_path / "leakage.parquet")
        (tmp_path / f"{name}.{ending}").unlink()
        with pytest.raises(InputError, match=rf"{name}\.{ending}: cannot be read"):
            read_audit(tmp_path / "leakage.parquet")
        result.write(tmp_path / "leakage.parquet")
        (tmp_path / "leakage.csv").write_text("a,b\n1,2\n")
        with pytest.raises(InputError, match="other columns"):
            read_audit(tmp_path / "leakage.parquet")


PART = st.sampled_from(PARTS)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), PART)), st.permutations("abcdef"))
def test_leak_free_cases_agree_with_the_counts(matches, cases):
    leaks = pd.DataFrame(matches, columns=["test_case", "train_part"])
    left = [leak_free(leaks, cases, part) for part in PARTS]
    counts = count_by_part(leaks)
    assert set(left[2]) <= set(left[1]) <= set(left[0]) <= set(cases)
    assert [len(remaining) for remaining in left] == list(6 - np.cumsum([counts[part] for part in PARTS]))
    assert all([case for case in cases if case in remaining] == remaining for remaining in left)
