"""``spectralseg new-dataset``: layouts from names, what it reads from files, and the dataset file that it writes."""

import shutil
import zipfile

import cv2
import nibabel as nib
import numpy as np
import pytest

from spectralseg import cli
from spectralseg.data import open_prepared
from spectralseg.data.layouts import PICTURES, VOLUMES, guess_groups, recognise
from spectralseg.data.specification import read_specification

from .test_volume_readers import LAS, draw, nnunet, pairs, save


def names(template, count=3, **fields):
    return [template.format(n=n, **fields) for n in range(count)]


class TestLayouts:
    @pytest.mark.parametrize(
        ("paths", "images", "masks"),
        [
            (names("images/{n}.png") + names("masks/{n}.png"), r"images/{id}\.png", r"masks/{id}\.png"),
            (names("top/imgs/{n}.JPG") + names("top/GT/{n}.png"), r"imgs/{id}\.jpg", r"GT/{id}\.png"),
            (names("{n}.png") + names("{n}_mask.png"), r"{id}\.png", r"{id}_mask\.png"),
            (names("img_{n}.png") + names("img_{n}_mask.png"), r"img_{id}\.png", r"img_{id}_mask\.png"),
            (names("img_{n}.png") + names("mask_{n}.png"), r"img_{id}\.png", r"mask_{id}\.png"),
            (names("img/img000{n}.png") + names("label/label000{n}.png"), r"img/img{id}\.png", r"label/label{id}\.png"),
            (names("a b/x {n}.tif") + names("a b/x {n} seg.tif"), r"{id}\.tif", r"{id}\ seg\.tif"),
            (
                names("ISIC_Input/ISIC_{n}.jpg") + names("ISIC_GroundTruth/ISIC_{n}_segmentation.png"),
                r"ISIC_Input/{id}\.jpg",
                r"ISIC_GroundTruth/{id}_segmentation\.png",
            ),
        ],
    )
    def test_patterns(self, paths, images, masks):
        layout = recognise(paths, PICTURES)
        assert (layout.images, layout.masks) == (images, masks)
        assert len(layout.pairs) == 3
        assert (layout.without_mask, layout.without_image, layout.others) == ((), (), ())

    def test_unpaired_and_other_files_are_listed(self):
        paths = [*names("images/{n}.png", 4), *names("masks/{n}.png", 3), "masks/9.png", "a/README.txt"]
        layout = recognise(paths, PICTURES)
        assert layout.without_mask == ("images/3.png",)
        assert layout.without_image == ("masks/9.png",)
        assert layout.others == ("a/README.txt",)

    def test_folders_of_parts(self):
        paths = [
            path for part in ("train", "test") for k in ("images", "masks") for path in names(f"{part}/{k}/{{n}}.png")
        ]
        layout = recognise(paths, PICTURES)
        assert layout.images == r"{part}/images/{name}\.png"
        assert layout.parts == {"test": "test", "train": "train"}

    def test_folders_of_patients_are_groups(self):
        paths = names("P{n}/image.nii.gz") + names("P{n}/mask.nii.gz")
        layout = recognise(paths, VOLUMES)
        assert (layout.images, layout.masks) == (r"{group}/image\.nii\.gz", r"{group}/mask\.nii\.gz")
        paths = [f"P{n}/{s}{end}.png" for n in range(3) for s in "ab" for end in ("", "_mask")]
        layout = recognise(paths, PICTURES)
        assert (layout.images, layout.masks) == (r"{group}/{name}\.png", r"{group}/{name}_mask\.png")
        assert (layout.groups.count, layout.groups.example) == (3, "P0")

    def test_one_of_several_sequences_is_taken(self):
        paths = [f"p{n}/p{n}_{end}.nii.gz" for n in range(3) for end in ("t1", "flair", "seg")]
        layout = recognise(paths, VOLUMES)
        assert layout.images == r"{group}/{name}_flair\.nii\.gz"
        assert layout.others == tuple(f"p{n}/p{n}_t1.nii.gz" for n in range(3))

    @pytest.mark.parametrize("paths", [[], names("a/{n}.png"), names("masks/{n}.png"), names("images/{n}.txt")])
    def test_nothing_to_pair(self, paths):
        assert recognise(paths, PICTURES) is None

    @pytest.mark.parametrize(
        ("cores", "pattern", "count"),
        [
            (["a_1", "a_2", "b_1", "c_1"], "{group}_{name}", 3),
            (["s-a-1", "s-a-2", "s-b-1", "s-c-1"], "(?P<group>[^/-]+-[^/-]+)-{name}", 3),
            (["a_1", "b_1", "c_1"], "{id}", 3),  # each in a group of its own
            (["case_1", "case_2", "case_3"], "{id}", 3),  # one group
            (["a_1", "b"], "{id}", 2),
            ([], "{id}", 0),
        ],
    )
    def test_groups(self, cores, pattern, count):
        groups = guess_groups(cores)
        assert (groups.pattern, groups.count) == (pattern, count)

    def test_too_few_groups_for_a_split_are_noted(self):
        groups = guess_groups(["a_1", "a_2", "b_1"])
        assert groups.pattern == "{id}"
        assert groups.note == "'a_' starts 2 names, but there are only 2 such groups"
        assert guess_groups(["a_1", "a_2", "b_1"], fewest=2).pattern == "{group}_{name}"


def pictures(root, ids=("a_1", "a_2", "b_1", "c_1", "d_1"), values=(0, 255), channels=3, dtype=np.uint8, suffix=".png"):
    rng = np.random.default_rng(0)
    for name in ids:
        mask = np.full((24, 32), values[0], np.uint8)
        for number, value in enumerate(values[1:]):
            mask[4 + 6 * number : 9 + 6 * number, 4:20] = value
        shape = (24, 32, 3) if channels == 3 else (24, 32)
        for kind, array in (("images", rng.integers(0, 250, shape).astype(dtype)), ("masks", mask)):
            (root / kind).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / kind / f"{name}{suffix if kind == 'images' else '.png'}"), array)


@pytest.fixture
def written(tmp_path, monkeypatch, capsys):
    """``written(raw)``: the specification that the command writes, and what it prints; prepares the dataset, too."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "workflow/rules/datasets").mkdir(parents=True)

    def run(raw, *options, prepared=True):
        assert cli.main(["new-dataset", str(raw), *options]) == 0
        text = capsys.readouterr().out
        (file,) = (tmp_path / "workflow/rules/datasets").glob("*.smk")
        command = text.splitlines()[-1].split()
        assert command[:3] == ["spectralseg", "prepare", str(file.relative_to(tmp_path))]
        if prepared:
            assert cli.main([*command[1:], "--image-size", "16", "--validation", "0.3"]) == 0
        return read_specification(file), text

    return run


class TestFiles:
    def test_pictures_with_groups(self, tmp_path, written):
        pictures(tmp_path / "My Cells")
        (tmp_path / "My Cells" / "v1.0").mkdir()
        specification, text = written("My Cells", prepared=False)
        assert (specification.name, specification.reader, specification.channels) == ("my_cells", "paired_images", 3)
        assert specification.reader_options == {
            "images": r"images/{group}_{name}\.png",
            "masks": r"masks/{group}_{name}\.png",
        }
        assert specification.split.random == 0.2
        assert "image sizes     32 x 24 pixels\n" in text
        assert "mask values     0, 255 in all 5 masks\n" in text
        assert "groups          4, guessed from names, 'a' for example\n" in text
        assert "- title, licence, citation and homepage\n" in text
        assert "--raw 'My Cells'" in text

    def test_the_dataset_can_be_prepared(self, tmp_path, written):
        pictures(tmp_path / "cells", values=(0, 1, 2), channels=1)
        specification, _ = written("cells")
        assert (specification.channels, specification.classes) == (1, ("class 1", "class 2"))
        assert specification.reader_options["values"] == [0, 1, 2]
        assert open_prepared(tmp_path / "prepared/cells").cases["group"].nunique() == 4

    def test_folders_with_spaces(self, tmp_path, written):
        pictures(tmp_path / "cells")
        for kind in ("images", "masks"):
            (tmp_path / "cells" / kind).rename(tmp_path / "cells" / f"my {kind} (final)")
        assert written("cells")[0].reader_options["masks"] == r"my\ masks\ \(final\)/{group}_{name}\.png"

    def test_pictures_of_16_bits_need_an_intensity_rule(self, tmp_path, written):
        pictures(tmp_path / "cells", dtype=np.uint16)
        assert written("cells")[0].intensity.percentiles == (0, 100)

    def test_volumes(self, tmp_path, written):
        pairs(tmp_path / "scans", ids=[f"p{n}" for n in range(5)], values=(0, 1, 4))
        specification, text = written("scans")
        assert (specification.dimensions, specification.reader) == (3, "paired_volumes")
        assert specification.reader_options["values"] == [0, 1, 4]
        assert "voxel sizes   1.5 x 2 x 3 mm\n" in text
        assert "volume sizes  10 x 8 x 6 voxels\n" in text

    @pytest.mark.parametrize(
        ("lowest", "zeros", "rule"),
        [(-1000, 0, "window"), (1, 0.5, "nonzero_percentiles"), (1, 0, "percentiles")],
    )
    def test_the_intensity_rule_follows_from_the_values(self, tmp_path, written, lowest, zeros, rule):
        rng = np.random.default_rng(0)
        for name in "abcd":
            image, mask = draw()
            image[0] = lowest
            image[rng.random(image.shape) < zeros] = 0
            save(tmp_path / "scans" / f"{name}.nii.gz", image)
            save(tmp_path / "scans" / f"{name}_seg.nii.gz", mask)
        assert getattr(written("scans")[0].intensity, rule) is not None

    def test_volumes_without_axes(self, tmp_path, written):
        pairs(tmp_path / "scans", ids=[f"p{n}" for n in range(4)], placed=False)
        specification, text = written("scans")
        assert specification.reader_options["slices"] == "stored"
        assert "- some headers do not give the patient's axes" in text

    def test_nnunet(self, tmp_path, written):
        nnunet(tmp_path)
        specification, text = written("Dataset042_Brain", "--name", "brain")
        assert (specification.name, specification.classes) == ("brain", ("oedema", "core"))
        assert specification.reader_options == {"channels": ["0000"], "cases": "{group}_{name}"}
        assert specification.split.test == ("test",)
        assert "- 4 channels (0000 T1, 0001 T2, 0002 FLAIR, 0003 DWI): one is taken" in text

    def test_three_channels_of_nnunet_are_all_taken(self, tmp_path, written):
        nnunet(tmp_path, channels=3, channel_names={"0": "A", "1": "B", "2": "C"})
        specification, _ = written("Dataset042_Brain")
        assert (specification.channels, "channels" in specification.reader_options) == (3, False)

    def test_an_archive(self, tmp_path, written):
        pictures(tmp_path / "cells")
        with zipfile.ZipFile(tmp_path / "cells.zip", "w") as archive:
            for file in sorted((tmp_path / "cells").rglob("*.png")):
                archive.write(file, file.relative_to(tmp_path))
        (tmp_path / "cells" / "images" / "a_1.png").write_bytes(b"damaged")
        shutil.rmtree(tmp_path / "cells")
        specification, text = written("cells.zip")
        assert specification.name == "cells"
        assert "/tmp" not in text

    def test_what_is_unpaired_or_damaged_is_reported(self, tmp_path, written):
        pictures(tmp_path / "cells")
        (tmp_path / "cells/masks/a_1.png").unlink()
        (tmp_path / "cells/images/b_1.png").unlink()
        (tmp_path / "cells/images/c_1.png").write_bytes(b"damaged")
        _, text = written("cells", prepared=False)
        assert "unpaired        1 images, 1 masks\n" in text
        assert "- 1 images have no mask, which the reader refuses: images/a_1.png; complete or remove them\n" in text
        assert "- 1 masks have no image, and will be recorded as excluded: masks/b_1.png" in text
        assert "- 1 images cannot be read: cells/images/c_1.png: damaged" in text

    def test_other_sizes_are_reported(self, tmp_path, written):
        pictures(tmp_path / "cells")
        cv2.imwrite(str(tmp_path / "cells/masks/a_1.png"), np.zeros((9, 9), np.uint8))
        assert "- 1 of 5 masks have another size than their image" in written("cells", prepared=False)[1]
        shutil.rmtree(tmp_path / "workflow/rules/datasets")
        (tmp_path / "workflow/rules/datasets").mkdir()
        pairs(tmp_path / "scans", ids=list("abcd"))
        save(tmp_path / "scans/masks/a.nii.gz", np.zeros((4, 8, 6), np.uint8), LAS)
        assert "- 1 of 4 masks have another grid than their image" in written("scans", prepared=False)[1]

    def test_masks_that_are_no_labels_are_reported(self, tmp_path, written):
        pairs(tmp_path / "scans", ids=list("abcd"))
        nib.save(nib.Nifti1Image(np.full((10, 8, 6), 0.5, np.float32), LAS), tmp_path / "scans/masks/a.nii.gz")
        assert "- masks hold values that are no labels, 0, 0.5, 1" in written("scans", prepared=False)[1]


class TestRefusals:
    @pytest.fixture
    def refused(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "workflow/rules/datasets").mkdir(parents=True)

        def run(*arguments):
            assert cli.main(["new-dataset", *map(str, arguments)]) == 1
            assert not list((tmp_path / "workflow/rules/datasets").glob("new*"))
            (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
            return line

        return run

    def test_an_existing_file_is_not_overwritten(self, tmp_path, refused):
        pictures(tmp_path / "cells")
        file = tmp_path / "workflow/rules/datasets/cells.smk"
        file.write_text("mine")
        assert "cells.smk: already exists and is not overwritten" in refused("cells")
        assert file.read_text() == "mine"

    def test_an_unknown_layout_is_described(self, tmp_path, refused):
        (tmp_path / "new" / "sub").mkdir(parents=True)
        assert "recognised in no files" in refused("new")
        (tmp_path / "new" / "sub" / "a.dcm").touch()
        message = refused("new")
        assert "no images with masks are recognised in 1 files (1 .dcm), sub/a.dcm first" in message
        assert "docs/add-a-dataset.md" in message

    @pytest.mark.parametrize(
        ("arguments", "problem"),
        [
            (["cells", "--name", "My cells"], "'My cells' is not a valid name of a dataset"),
            (["cells", "--out", "elsewhere/new.smk"], "elsewhere: is not a folder"),
            (["cells", "--name", "new", "--out", "other.smk"], "the file of dataset 'new' must be named new.smk"),
            (["nowhere", "--name", "new"], "nowhere: does not exist"),
        ],
    )
    def test_invalid_arguments(self, tmp_path, refused, arguments, problem):
        pictures(tmp_path / "cells")
        assert problem in refused(*arguments)

    def test_files_that_cannot_be_read_at_all(self, tmp_path, refused):
        pictures(tmp_path / "new")
        for file in (tmp_path / "new" / "masks").iterdir():
            file.write_bytes(b"damaged")
        assert "a_1.png: damaged" in refused("new")
