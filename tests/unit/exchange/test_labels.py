"""Label maps of other people as files."""

import gzip
import shutil
import struct
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pytest

from spectralseg.errors import InputError
from spectralseg.exchange.labels import read_labels

SLOPE, UNIT = (112, "<2f"), (123, "<b")


@pytest.fixture
def theirs(source, tmp_path):
    """``theirs(name)``: prepared dataset, id of a test case, and a copy of its prediction that a test may spoil."""

    def make(name):
        found = source(name)
        case = found.tested[0]
        return found.data, case, Path(shutil.copy(found.predictions / f"{case}{found.ending}", tmp_path))

    return make


def change_header(path, field, *values):
    content = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into(field[1], content, field[0], *values)
    path.write_bytes(gzip.compress(bytes(content)))


def test_rounding_by_the_scale_of_the_header_is_undone(theirs):
    data, case, path = theirs("acdc")
    labels = read_labels(path, data, case)
    assert labels.any()
    change_header(path, SLOPE, 0.9999, 0)
    assert np.array_equal(read_labels(path, data, case), labels)


def test_labels_scaled_to_no_label_are_refused(theirs):
    data, case, path = theirs("acdc")
    change_header(path, SLOPE, 0.6, 0)
    with pytest.raises(InputError, match=r"holds the label [\d.]+; give whole .* without scaling \(scl_slope 0\.6"):
        read_labels(path, data, case)


def test_labels_that_scaling_makes_background_are_refused(theirs):
    data, case, path = theirs("acdc")
    change_header(path, SLOPE, 1 / 255, 0)
    with pytest.raises(InputError, match=r"holds the label 0\.00\d+; .* \(scl_slope 0\.00392"):
        read_labels(path, data, case)


def test_a_grid_in_metres_lies_elsewhere(theirs):
    data, case, path = theirs("synapse")
    read_labels(path, data, case)
    change_header(path, UNIT, 1)
    with pytest.raises(InputError, match="lies elsewhere in space"):
        read_labels(path, data, case)


def test_a_grid_given_in_metres_is_read_in_millimetres(theirs):
    data, case, path = theirs("synapse")
    image = nib.load(path)
    metres = nib.Nifti1Image(np.asarray(image.dataobj), np.diag([0.001, 0.001, 0.001, 1]) @ image.affine)
    metres.header.set_xyzt_units("meter")
    labels = read_labels(path, data, case)
    nib.save(metres, path)
    assert np.array_equal(read_labels(path, data, case), labels)


def test_labels_compressed_with_loss_are_refused_whatever_their_name(theirs):
    data, case, path = theirs("kvasir_seg")
    path.write_bytes(bytes(cv2.imencode(".jpg", cv2.imread(str(path), cv2.IMREAD_UNCHANGED))[1]))
    with pytest.raises(InputError, match=r"\.png: is a JPEG file, whose compression changes labels; save it as PNG"):
        read_labels(path, data, case)
