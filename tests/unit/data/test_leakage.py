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
from spectralseg.data.cases import Case, Sample
from spectralseg.data.geometry import Geometry
from spectralseg.data.leakage import (
    DEVELOPMENT,
    HASH_BITS,
    PAIRS,
    REPEATS,
    Fingerprints,
    audit,
    count_by_part,
    development_file,
    exact_matches,
    fingerprint,
    leak_free,
    listed,
    near_duplicates,
    no_audit,
    read_audit,
)
from spectralseg.data.splits import PARTS
from spectralseg.errors import InputError

SIDE = 64


def picture(number, side=SIDE):
    """Soft shapes under a fine texture; no two numbers look alike."""
    rng = np.random.default_rng(number)
    layers = [rng.uniform(-strength, strength, (grain, grain, 3)) for grain, strength in ((6, 80), (16, 40))]
    return np.clip(
        128 + sum(cv2.resize(one, (side, side), interpolation=cv2.INTER_CUBIC) for one in layers), 0, 255
    ).astype(np.uint8)


def case(name, image, group=None, file=None):
    labels = np.zeros(image.shape[:-1] if image.shape[-1] == 3 else image.shape, np.uint8)
    labels[..., :4, :4] = 1
    place = Geometry(np.eye(4), "SAR") if labels.ndim == 3 else None
    return Case(name, group or name, lambda: Sample(image, labels, geometry=place), image=file)


@pytest.fixture
def dataset(tmp_path, prepare_cases, toy_specification, monkeypatch):
    """Prepare cases of given parts: ``dataset("a", train=[...], test=[...])``; also without test cases."""
    monkeypatch.setattr(preparation, "_refuse_untested", lambda raw, parts: None)

    def build(name, *, namespace=None, ood=(), dimensions=2, channels=3, size=SIDE, **parts):
        cases = [replace(one, attributes={"part": part}) for part, group in parts.items() for one in group]
        whole = {"attribute": "part", "validation": ["validation"], "test": ["test"]}
        if set(parts) == {"test"}:
            whole = {"everything": "test"}
        specification = toy_specification(
            name=name, split=whole, id_namespace=namespace, ood=ood, dimensions=dimensions, channels=channels
        )
        return prepare_cases(tmp_path / name, cases, specification, image_size=size, allow_partial=True)

    return build


def kinds(leaks):
    return sorted(map(tuple, leaks[["test_case", "kind", "train_case", "train_part"]].to_numpy()))


def training(numbers=range(4), side=SIDE):
    return {"train": [case(f"t{n}", picture(n, side)) for n in numbers], "validation": [case("v", picture(90, side))]}


class TestPublishedLists:
    """ISIC-2018 Task 1 as BCDU-Net divides it, and the official test images of ISIC-2017: by id alone."""

    @pytest.fixture
    def lists(self):
        return listed("isic2018_bcdu_sorted"), listed("isic2017_official_test")

    def test_how_many_test_images_are_in_which_part(self, lists):
        matches = exact_matches("id", *lists)
        assert count_by_part(matches) == {"train": 108, "validation": 61, "test": 360}
        assert len(matches) == 529
        assert len(lists[1]) == 600

    @pytest.mark.parametrize(
        ("beyond", "count", "sha256"),
        [
            ("train", 492, "eee4d2331d26ec94daccbcf28e8100daf66829dc154adb918b1d4444c5b081a1"),
            ("validation", 431, "4d960a93a180fc9c7a7ac8f24448a15441af01a2fa742b20d3c42bcc41adfece"),
            ("test", 71, "a4c824c61756888756177d35dc0126c384018041ec1a28e33039498feb96b082"),
        ],
    )
    def test_what_is_left(self, lists, beyond, count, sha256):
        left = leak_free(exact_matches("id", *lists), lists[1]["case"], beyond)
        assert len(left) == count
        assert hashlib.sha256("".join(f"{one}\n" for one in left).encode()).hexdigest() == sha256


class TestKinds:
    def test_ids_count_within_a_namespace_only(self, dataset):
        first = dataset("first", namespace="shared", train=[case("x", picture(1))], validation=[case("y", picture(2))])
        second = dataset("second", namespace="shared", test=[case("x", picture(3)), case("z", picture(4))])
        other = dataset("other", test=[case("x", picture(5))])
        found = audit([first, second, other])
        assert kinds(found.leaks) == [("x", "id", "x", "train")]
        assert set(found.leaks["test_dataset"]) == {"second"}

    def test_bytes_count_across_namespaces(self, dataset, tmp_path):
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
        assert kinds(audit([first, second]).leaks) == [("x", "bytes", "a", "train")]

    def test_another_picture_of_a_patient(self, dataset):
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
        assert kinds(audit([first, second]).leaks) == [
            ("a3", "group", "a1", "train"),
            ("a3", "group", "a2", "train"),
            ("b2", "group", "b1", "validation"),
            ("x", "id", "x", "train"),
        ]

    def test_a_test_set_may_hold_a_case_twice(self, dataset):
        """Each member of a pair is named once; several pictures of one patient are no finding."""
        twins = [case("x", picture(7)), case("y", picture(7)), case("z1", picture(8), "z"), case("z2", picture(8), "z")]
        found = audit([dataset("only", test=twins)])
        assert kinds(found.leaks) == [("x", "near_duplicate", "y", "test"), ("y", "near_duplicate", "x", "test")]
        assert found.pairs.iloc[0][["role", "cases", *PARTS]].tolist() == ["own", 4, 0, 0, 2]
        found.refuse()  # nothing is trained on

    def test_training_cases_in_the_own_test_set(self, dataset):
        data = dataset("own", **training(), test=[case("x", picture(2)), case("y", picture(50))])
        found = audit([data])
        assert kinds(found.leaks) == [("x", "near_duplicate", "t2", "train")]
        with pytest.raises(InputError, match=r"own: 1 of 2 test cases match other cases of own \(1 train\); "):
            found.refuse()


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


class TestNearDuplicates:
    @pytest.mark.parametrize("size", [64, 224])
    def test_copies_are_found_and_others_are_not(self, dataset, size):
        originals = dataset("originals", size=size, **training(range(len(COPIES) + 1), 160))
        copies = [case(name, copy(picture(n, 160))) for n, (name, copy) in enumerate(COPIES.items())]
        others = [case(f"other {n}", picture(n, 160)) for n in range(100, 110)]
        found = audit([originals, dataset("copies", size=size, test=[*copies, *others])])
        expected = [(name, "near_duplicate", f"t{n}", "train") for n, name in enumerate(COPIES)]
        assert kinds(found.leaks) == sorted(expected)
        assert found.leaks["distance"].between(0, HASH_BITS).all()

    def test_what_is_not_found(self, dataset):
        """As the documentation says; a limit, not a wish."""
        image = picture(0, 160)
        changed = {"mirrored": image[:, ::-1], "turned": image[::-1, ::-1], "cropped": image[8:-8, 8:-8]}
        copies = [case(name, np.ascontiguousarray(one)) for name, one in changed.items()]
        assert audit([dataset("originals", **training(range(3), 160)), dataset("copies", test=copies)]).leaks.empty

    @pytest.mark.parametrize("name", ["synapse", "acdc", "btseg", "kvasir_seg", "polypgen", "isic2018", "monuseg"])
    def test_different_cases_of_a_phantom_are_told_apart(self, prepared_phantom, name):
        data = prepared_phantom(name, 64)
        prints = fingerprint(data)
        assert len(np.unique(prints.case)) == len(data.cases)
        everything = data.cases.assign(part="test")
        found = near_duplicates(prints, Fingerprints(everything, prints.case, prints.bits, prints.thumbnail))
        group = data.cases.set_index("case")["group"]
        alien = group[found["test_case"]].to_numpy() != group[found["train_case"]].to_numpy()
        assert (found["test_case"] == found["train_case"]).sum() == len(data.cases)
        assert not alien.any()

    def test_images_that_show_nothing_are_counted_not_matched(self, dataset):
        flat = np.full((SIDE, SIDE, 3), 90, np.uint8)
        first = dataset("first", train=[case("a", flat)], validation=[case("b", picture(1)), case("c", picture(2))])
        found = audit([first, dataset("second", test=[case("x", flat), case("y", picture(3))])])
        assert found.leaks.empty
        assert found.pairs["not_hashed"].tolist() == [1, 1]
        assert audit([first, dataset("third", test=[case("z", flat), case("y", picture(4))])]).leaks.empty

    def test_grey_of_16_bits_looks_like_that_of_8(self, dataset, prepare_cases, toy_specification, tmp_path):
        grey = [picture(n)[..., 0] for n in range(3)]
        parts = {"train": [case("t", grey[0])], "validation": [case("v", grey[1]), case("w", grey[2])]}
        first = dataset("first", channels=1, **parts)
        windowed = toy_specification(
            name="second", channels=1, split={"everything": "test"}, intensity={"window": [0, 255]}
        )
        second = prepare_cases(tmp_path / "second", [case("x", grey[0].astype(np.int16))], windowed, image_size=SIDE)
        assert (first.images.dtype, second.images.dtype) == (np.uint8, np.uint16)
        assert kinds(audit([first, second]).leaks) == [("x", "near_duplicate", "t", "train")]


def volume(numbers):
    return np.stack([picture(n)[..., 0] for n in numbers])


class TestVolumes:
    @pytest.fixture
    def first(self, dataset):
        cases = {"train": [case("t", volume(range(8)))], "validation": [case("v", volume(range(20, 26)))]}
        return dataset("first", dimensions=3, channels=1, **cases)

    @pytest.mark.parametrize(("shared", "found"), [(8, True), (4, True), (3, False)])
    def test_half_of_the_slices_must_match(self, first, dataset, shared, found):
        test = case("x", volume([*range(shared), *range(50, 58 - shared)]))
        second = dataset("second", dimensions=3, channels=1, test=[test])
        assert kinds(audit([first, second]).leaks) == [("x", "near_duplicate", "t", "train")] * found

    def test_slices_that_match_different_cases_are_not_added_up(self, first, dataset):
        second = dataset("second", dimensions=3, channels=1, test=[case("x", volume([0, 1, 20, 21, 60, 61]))])
        assert audit([first, second]).leaks.empty

    def test_slices_that_show_nothing_do_not_count(self, first, dataset):
        empty = np.zeros((6, SIDE, SIDE), np.uint8)
        second = dataset("second", dimensions=3, channels=1, test=[case("x", np.concatenate([volume([0, 50]), empty]))])
        assert kinds(audit([first, second]).leaks) == [("x", "near_duplicate", "t", "train")]
        assert audit([first, second]).pairs["not_hashed"].tolist() == [0, 0]


class TestDevelopment:
    """Training and validation cases of a dataset among themselves: as in ACDC, whose published lists part two patients
    with the same pictures, and Kvasir-SEG."""

    @pytest.fixture
    def found(self, dataset, tmp_path):
        for name, content in (("one.jpg", b"same"), ("two.jpg", b"same"), ("three.jpg", b"other")):
            (tmp_path / name).write_bytes(content)
        train = [case("t0", picture(0)), case("t2", picture(1)), case("t1", picture(1)), case("z", picture(2), "p")]
        train += [case("f1", picture(3), "q", tmp_path / "one.jpg"), case("f2", picture(4), "q", tmp_path / "two.jpg")]
        train.append(case("y", picture(2), "p"))
        validation = [case("v0", jpeg(50)(picture(0))), case("v1", picture(5)), case("v2", picture(5))]
        validation.append(case("v3", picture(6), file=tmp_path / "three.jpg"))
        test = [case("x", picture(70))]
        return audit([dataset("own", train=train, validation=validation, test=test)])

    def test_every_match_is_listed_once(self, found):
        assert list(found.repeats.columns) == list(REPEATS)
        assert list(map(tuple, found.repeats[list(REPEATS[:-1])].to_numpy())) == [
            ("own", "f1", "train", "bytes", "f2", "train"),
            ("own", "t1", "train", "near_duplicate", "t2", "train"),
            ("own", "v0", "validation", "near_duplicate", "t0", "train"),
            ("own", "v1", "validation", "near_duplicate", "v2", "validation"),
        ]
        assert found.repeats["distance"].isna().tolist() == [True, False, False, False]

    def test_how_many_cases_match_and_what_that_does(self, found):
        assert list(found.development.columns) == list(DEVELOPMENT)
        counts = found.development[["part", "match_part", "cases", "not_hashed", "matching"]].to_numpy().tolist()
        assert counts == [
            ["validation", "train", 4, 0, 1],
            ["validation", "validation", 4, 0, 2],
            ["train", "train", 7, 0, 4],
        ]
        assert found.findings() == [
            "own: 1 of 4 validation cases match training cases (v0 = t0), which biases model selection",
            "own: 2 of 4 validation cases match other validation cases (v1 = v2), which weigh more in model selection",
            "own: 4 of 7 training cases match other training cases (f1 = f2, t1 = t2), which weigh more in training",
        ]

    def test_they_are_no_test_leaks(self, found):
        assert found.leaks.empty
        assert found.matching.empty
        assert len(found.seen("test")) == 0
        found.refuse()

    def test_a_volume_within_a_longer_one_is_a_repeat_of_it_whatever_their_parts(self, dataset):
        short, long = volume(range(4)), volume(range(12))
        for train, validation in ((short, long), (long, short)):
            data = dataset(
                "own", dimensions=3, channels=1, train=[case("t", train)], validation=[case("v", validation)]
            )
            assert audit([data]).repeats[["case", "match"]].to_numpy().tolist() == [["v", "t"]]

    def test_findings_of_some_datasets(self, dataset, found):
        other = audit([dataset("other", **training(), test=[case("x", picture(2))])])
        assert found.findings({("own", "elsewhere")}) == found.findings()
        assert found.findings({("elsewhere", "own")}) == []
        assert other.findings({("other", "other")}) == ["other: 1 of 1 test cases match other cases of other (1 train)"]
        assert other.findings({("other", "own")}) == []

    def test_many_matches_are_counted(self, dataset):
        data = dataset("own", train=[case(f"t{n}", picture(1)) for n in range(4)], validation=[case("v", picture(2))])
        (finding,) = audit([data]).findings()
        assert "4 of 4 training cases match other training cases (t0 = t1, t0 = t2, t0 = t3 and 3 more)" in finding


class TestPairs:
    def test_every_pair_of_equal_channels_is_listed(self, dataset):
        grey = {"train": [case("t", picture(1)[..., 0])], "validation": [case("v", picture(2)[..., 0])]}
        sets = [
            dataset("first", ood=["third"], **training(), test=[case("x", picture(60))]),
            dataset("second", **training(range(10, 13)), test=[case("x", picture(61))]),
            dataset("third", test=[case("x", picture(62))]),
            dataset("grey", channels=1, **grey, test=[case("x", picture(63)[..., 0])]),
            dataset("untested", **training(range(20, 23))),
        ]
        pairs = audit(sets).pairs
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

    def test_a_leak_between_datasets_that_are_never_tested_together_does_not_stop_a_study(self, dataset):
        first, second = dataset("first", **training()), dataset("second", test=[case("x", picture(2))])
        found = audit([first, second])
        assert found.matching["finding"].tolist() == [
            "first → second: 1 of 1 test cases match cases of first (1 train)"
        ]
        found.refuse()
        partner = dataset("first", ood=["second"], **training())
        with pytest.raises(InputError, match="first → second: 1 of 1"):
            audit([partner, second]).refuse()

    def test_the_worst_pair_is_named_and_the_others_are_counted(self, dataset):
        first = dataset("first", ood=["second", "third"], **training())
        second = dataset("second", test=[case("x", picture(2)), case("y", picture(70))])
        third = dataset("third", test=[case("x", picture(0)), case("y", picture(90)), case("z", picture(71))])
        with pytest.raises(
            InputError, match=r"^first → third: 2 of 3 .* \(1 train, 1 validation\) \(further pairs that leak: 1\); "
        ):
            audit([first, second, third]).refuse()

    def test_a_dataset_that_is_given_twice_is_refused(self, dataset):
        data = dataset("first", **training())
        with pytest.raises(InputError, match="'first' is given twice"):
            audit([data, data])

    def test_nothing_to_compare(self, dataset):
        assert audit([]).pairs.empty
        alone = audit([dataset("first", **training())])
        assert alone.pairs.empty
        assert alone.development["matching"].tolist() == [0, 0, 0]


class TestBTSeg:
    """Families of patient numbers, MR051651 and MR051651B, which the published folds part."""

    def test_the_published_folds_part_a_family_and_the_split_by_family_does_not(self, prepared_phantom):
        data = prepared_phantom("btseg")
        fold = data.cases["attributes"].map(lambda text: json.loads(text)["fold"])
        published = data.cases.assign(part=np.where(fold == "5", "test", "train"))
        parted = exact_matches("group", published, published)
        assert (parted["train_part"] == "train").any()
        assert "MR051651" in set(data.cases.set_index("case")["group"][parted["test_case"]])
        assert not audit([data]).matching["finding"].tolist()


class TestFiles:
    @pytest.fixture
    def found(self, dataset):
        twice = [*training()["train"], case("t", picture(0))]
        first = dataset("first", train=twice, validation=training()["validation"])
        return audit([first, dataset("second", test=[case("x", picture(1))])])

    def test_they_read_back_as_they_were(self, found, tmp_path):
        for audited in (found, no_audit()):
            audited.write(tmp_path / "leakage.parquet")
            again = read_audit(tmp_path / "leakage.parquet")
            for name in ("leaks", "pairs", "repeats", "development"):
                written, read = getattr(audited, name), getattr(again, name)
                assert len(written) > 0 or audited is not found
                pd.testing.assert_frame_equal(read, written, check_dtype=len(written) > 0)

    def test_an_older_audit_has_compared_nothing_within_training_data(self, found, tmp_path):
        file = tmp_path / "leakage.parquet"
        found.write(file)
        development_file(file).unlink()
        development_file(file).with_suffix(".csv").unlink()
        again = read_audit(file)
        assert len(again.leaks) == len(found.leaks) > 0
        assert again.development.empty
        assert again.repeats.empty

    @pytest.mark.parametrize("name", ["leakage", "leakage_development"])
    @pytest.mark.parametrize("ending", ["parquet", "csv"])
    def test_damage_is_told(self, found, tmp_path, name, ending):
        found.write(tmp_path / "leakage.parquet")
        (tmp_path / f"{name}.{ending}").unlink()
        with pytest.raises(InputError, match=rf"{name}\.{ending}: cannot be read"):
            read_audit(tmp_path / "leakage.parquet")
        found.write(tmp_path / "leakage.parquet")
        (tmp_path / "leakage.csv").write_text("a,b\n1,2\n")
        with pytest.raises(InputError, match="other columns"):
            read_audit(tmp_path / "leakage.parquet")


PART = st.sampled_from(PARTS)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), PART)), st.permutations("abcdef"))
def test_ever_fewer_cases_are_left_and_the_counts_say_how_many(matches, cases):
    leaks = pd.DataFrame(matches, columns=["test_case", "train_part"])
    left = [leak_free(leaks, cases, part) for part in PARTS]
    counts = count_by_part(leaks)
    assert set(left[2]) <= set(left[1]) <= set(left[0]) <= set(cases)
    assert [len(one) for one in left] == list(6 - np.cumsum([counts[part] for part in PARTS]))
    assert all([case for case in cases if case in one] == one for one in left)
