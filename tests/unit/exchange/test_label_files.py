"""External label maps."""

import gzip
import shutil
import struct
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pytest

from spectralseg.errors import InputError
from spectralseg.exchange.label_files import read_labels

SLOPE, UNIT = (112, "<2f"), (123, "<b")


@pytest.fixture
def prediction(source, tmp_path):
    """``prediction(name)``: prepared dataset, id of a test case, and a copy of its prediction for a test to change."""

    def make(name):
        example = source(name)
        case = example.tested[0]
        return example.data, case, Path(shutil.copy(example.predictions / f"{case}{example.ending}", tmp_path))

    return make


def change_header(path, field, *values):
    content = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into(field[1], content, field[0], *values)
    path.write_bytes(gzip.compress(bytes(content)))


def test_rounding_errors_of_the_header_scale_are_removed(prediction):
    data, case, path = prediction("acdc")
    labels = read_labels(path, data, case)
    assert labels.any()
    change_header(path, SLOPE, 0.9999, 0)
    assert np.array_equal(read_labels(path, data, case), labels)


def test_labels_that_scaling_makes_invalid_are_an_error(prediction):
    data, case, path = prediction("acdc")
    change_header(path, SLOPE, 0.6, 0)
    with pytest.raises(InputError, match=r"holds the label [\d.]+; give whole .* without scaling \(scl_slope 0\.6"):
        read_labels(path, data, case)


def test_labels_that_scaling_makes_background_are_an_error(prediction):
    data, case, path = prediction("acdc")
    change_header(path, SLOPE, 1 / 255, 0)
    with pytest.raises(InputError, match=r"holds the label 0\.00\d+; .* \(scl_slope 0\.00392"):
        read_labels(path, data, case)


def test_a_grid_with_the_wrong_unit_is_an_error(prediction):
    data, case, path = prediction("synapse")
    read_labels(path, data, case)
    change_header(path, UNIT, 1)
    with pytest.raises(InputError, match="lies elsewhere in space"):
        read_labels(path, data, case)


def test_a_grid_with_the_unit_metre_is_converted_to_millimetres(prediction):
    data, case, path = prediction("synapse")
    image = nib.load(path)
    metres = nib.Nifti1Image(np.asarray(image.dataobj), np.diag([0.001, 0.001, 0.001, 1]) @ image.affine)
    metres.header.set_xyzt_units("meter")
    labels = read_labels(path, data, case)
    nib.save(metres, path)
    assert np.array_equal(read_labels(path, data, case), labels)


def test_lossy_compression_is_an_error_whatever_the_suffix(prediction):
    data, case, path = prediction("kvasir_seg")
    path.write_bytes(bytes(cv2.imencode(".jpg", cv2.imread(str(path), cv2.IMREAD_UNCHANGED))[1]))
    with pytest.raises(InputError, match=r"\.png: is a JPEG file, whose compression changes labels; save it as PNG"):
        read_labels(path, data, case)


@pytest.mark.parametrize("change", [lambda _: np.eye(4), lambda affine: affine + np.eye(4, k=3) * 5])
def test_a_volume_in_another_place_has_its_own_remedy(prediction, change):
    data, case, path = prediction("synapse")
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), change(image.affine)), path)
    with pytest.raises(InputError, match=r"lies elsewhere in space .*; predict from the image as published, or as"):
        read_labels(path, data, case)


@pytest.mark.parametrize("name", ["synapse", "kvasir_seg"])
def test_the_remedy_for_a_damaged_prediction_is_to_write_it_again(prediction, name):
    data, case, path = prediction(name)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match=r"; write the prediction again, as one label map$"):
        read_labels(path, data, case)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_mask_that_is_all_foreground_may_be_stored_as_255(prediction, kind):
    data, case, path = prediction("kvasir_seg")
    cv2.imwrite(str(path), np.full(data.native_shape(case), 255, kind))
    labels = read_labels(path, data, case)
    assert labels.shape == data.native_shape(case)
    assert (labels == 1).all()
