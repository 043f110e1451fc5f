"""NIfTI files compared with nibabel, and label values."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from spectralseg.data.readers._formats import load_pair, read_nifti, whole_labels
from spectralseg.errors import InputError

SHAPE = (5, 4, 3)


def volume(dtype):
    values = np.random.default_rng(0).integers(0, 200, SHAPE)
    return values.astype(dtype)


def write(path, array, *, slope=None, inter=None, kind=nib.Nifti1Image):
    image = kind(array, np.diag([1.5, 1.5, 4.0, 1.0]))
    image.header.set_data_dtype(array.dtype)
    image.header.set_slope_inter(slope, inter)
    image.to_filename(path)
    return path


def store(path, numbers):
    """Write stored numbers without scaling, unlike nibabel."""
    path.write_bytes(path.read_bytes()[:352] + numbers.tobytes())
    return path


class TestVoxels:
    @pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
    @pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
    @pytest.mark.parametrize("dtype", ["u1", "i2", ">i2", "u2", "i4", "f4", "f8", ">f4"])
    def test_voxels_equal_nibabel(self, tmp_path, name, kind, dtype):
        path = write(tmp_path / name, volume(dtype), kind=kind)
        result, expected = read_nifti(path).array, np.asanyarray(nib.load(path).dataobj)
        assert result.dtype == expected.dtype
        assert np.array_equal(result, expected)
        assert np.array_equal(result.astype(np.float64), nib.load(path).get_fdata())

    @pytest.mark.parametrize(("slope", "inter"), [(1, 0), (2, 0), (1, -1024), (0.1, 0.3), (np.nan, np.nan)])
    @pytest.mark.parametrize("dtype", ["u1", "i2", "f4"])
    def test_scaling_equals_nibabel(self, tmp_path, dtype, slope, inter):
        path = tmp_path / "a.nii.gz"
        header = nib.Nifti1Header()
        header.set_data_dtype(dtype)
        header.set_data_shape(SHAPE)
        header["vox_offset"], header["scl_slope"], header["scl_inter"] = 352, slope, inter
        header["pixdim"][1:4] = header["srow_x"][0] = header["srow_y"][1] = header["srow_z"][2] = 1
        header["sform_code"] = 1
        path.write_bytes(gzip.compress(header.binaryblock + bytes(4) + volume(dtype).tobytes(order="F")))
        result, expected = read_nifti(path).array, np.asanyarray(nib.load(path).dataobj)
        assert result.dtype == expected.dtype
        assert np.array_equal(result, expected)
        assert (result == volume(dtype)).all() == ((slope, inter) == (1, 0) or np.isnan(slope))

    def test_a_singleton_fourth_axis_is_dropped(self, tmp_path):
        assert read_nifti(write(tmp_path / "a.nii.gz", volume("i2")[..., None])).array.shape == SHAPE

    @pytest.mark.parametrize("keep", [0.0, 0.3, 0.7, 0.99])
    def test_a_truncated_file_is_refused(self, tmp_path, keep):
        path = write(tmp_path / "a.nii.gz", np.random.default_rng(0).integers(-999, 999, (20, 20, 20), np.int16))
        path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
        with pytest.raises(InputError, match=r"a\.nii\.gz: cannot be read as a NIfTI volume"):
            read_nifti(path)

    def test_a_truncated_plain_file_is_refused(self, tmp_path):
        path = write(tmp_path / "a.nii", volume("i2"))
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(InputError, match=r"a\.nii: holds more or less data than its header says"):
            read_nifti(path)

    def test_a_compressed_file_of_another_name_is_named(self, tmp_path):
        path = write(tmp_path / "a.nii.gz", volume("i2")).rename(tmp_path / "a.nii")
        with pytest.raises(InputError, match=r"a\.nii: is compressed, unlike its name says; rename it"):
            read_nifti(path)

    def test_a_file_that_is_compressed_twice_is_named(self, tmp_path):
        path = write(tmp_path / "a.nii.gz", volume("i2"))
        path.write_bytes(gzip.compress(path.read_bytes()))
        with pytest.raises(InputError, match=r"a\.nii\.gz: is compressed twice; decompress it once"):
            read_nifti(path)

    def test_a_compressed_file_with_a_suffix_in_upper_case_is_read(self, tmp_path):
        path = write(tmp_path / "a.nii.gz", volume("i2")).rename(tmp_path / "A.NII.GZ")
        np.testing.assert_array_equal(read_nifti(path).array, volume("i2"))

    def test_a_changed_voxel_is_detected_by_the_checksum(self, tmp_path):
        content = bytearray(gzip.compress(write(tmp_path / "a.nii", volume("u1")).read_bytes(), compresslevel=0))
        content[-20] ^= 1  # not compressed, so that it still inflates
        path = tmp_path / "a.nii.gz"
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"a\.nii\.gz: cannot be read as a NIfTI volume"):
            read_nifti(path)


def header_of(path, **fields):
    """Change fields of the header of an uncompressed file in place."""
    content = path.read_bytes()
    header = nib.Nifti1Header(content[:348], check=False)
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(header.binaryblock + content[348:])
    return path


class TestLengths:
    @pytest.mark.parametrize(
        ("unit", "factor"),
        [("unknown", 1), ("mm", 1), ("meter", 1000), ("micron", 0.001)],
        ids=lambda value: str(value),
    )
    @pytest.mark.parametrize("time", ["unknown", "sec", "msec"])
    def test_lengths_are_converted_to_millimetres(self, tmp_path, unit, time, factor):
        affine = np.array([[0, -1.5, 0, 7], [1.5, 0, 0, -3], [0, 0, 4, 2], [0, 0, 0, 1.0]])
        image = nib.Nifti1Image(volume("i2"), affine)
        image.header.set_xyzt_units(unit, time)
        image.to_filename(tmp_path / "a.nii.gz")
        result = read_nifti(tmp_path / "a.nii.gz")
        assert np.allclose(result.zooms, np.array([1.5, 1.5, 4]) * factor)
        assert np.allclose(result.affine[:3], affine[:3] * factor)
        assert result.affine[3].tolist() == [0, 0, 0, 1]

    def test_unknown_units_are_refused(self, tmp_path):
        path = header_of(write(tmp_path / "a.nii", volume("i2")), xyzt_units=5)
        with pytest.raises(InputError, match=r"a\.nii: the header gives lengths in an unknown unit \(code 5\)"):
            read_nifti(path)

    @pytest.mark.parametrize("factor", [0.9, 1.02, 3])
    def test_pixdim_and_affine_must_agree(self, tmp_path, factor):
        path = write(tmp_path / "a.nii", volume("i2"))
        header_of(path, pixdim=[1, 1.5, 1.5, 4 * factor, 1, 1, 1, 1])
        message = (
            rf"a\.nii: pixdim gives voxels of 1\.5 x 1\.5 x {4 * factor:.4g} mm, the affine of 1\.5 x 1\.5 x 4 mm; "
        )
        with pytest.raises(InputError, match=message):
            read_nifti(path)

    def test_pixdim_and_affine_may_differ_by_rounding(self, tmp_path):
        path = header_of(write(tmp_path / "a.nii", volume("i2")), pixdim=[1, 1.5, 1.5, 4.03, 1, 1, 1, 1])
        assert np.allclose(read_nifti(path).zooms, (1.5, 1.5, 4.03))

    @pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1)])
    def test_pixdim_is_used_with_an_affine_of_unit_scale(self, tmp_path, signs):
        image = nib.Nifti1Image(volume("i2"), np.diag([*signs, 1.0]))
        image.to_filename(tmp_path / "a.nii")
        result = read_nifti(header_of(tmp_path / "a.nii", pixdim=[1, 1.5, 1.5, 10, 1, 1, 1, 1]))
        assert result.zooms == (1.5, 1.5, 10)
        assert result.unit_affine

    @pytest.mark.parametrize("side", [1.0, 0.9999999, 1.0000001])
    def test_an_affine_of_unit_scale_gives_the_axes_of_voxels_of_a_millimetre(self, tmp_path, side):
        nib.Nifti1Image(volume("u1") // 100, np.eye(4)).to_filename(tmp_path / "a.nii")
        path = header_of(tmp_path / "a.nii", pixdim=[1, side, 1, 1, 1, 1, 1, 1])
        np.testing.assert_array_equal(
            load_pair(path, path, 1).labels, volume("u1").transpose(2, 1, 0)[:, ::-1, ::-1] // 100
        )

    def test_an_affine_of_unit_scale_does_not_give_the_axes_of_other_voxels(self, tmp_path):
        nib.Nifti1Image(volume("u1") // 100, np.eye(4)).to_filename(tmp_path / "a.nii")
        path = header_of(tmp_path / "a.nii", pixdim=[1, 1.1, 1, 1, 1, 1, 1, 1])
        with pytest.raises(InputError, match="the header does not give the patient's axes"):
            load_pair(path, path, 1)

    def test_axes_without_a_form_code_are_a_guess(self, tmp_path):
        path = write(tmp_path / "a.nii", volume("i2"))
        assert read_nifti(path).placed
        assert not read_nifti(header_of(path, sform_code=0, qform_code=0)).placed


class TestWholeLabels:
    @pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "f4", "f8", "?"])
    def test_values_are_kept_whatever_their_type(self, tmp_path, dtype):
        result = whole_labels(tmp_path, np.array([[0, 1], [1, 0]], dtype), 3)
        assert result.dtype == np.uint8
        assert result.tolist() == [[0, 1], [1, 0]]

    def test_rounding_errors_of_the_file_format_are_removed(self, tmp_path):
        assert whole_labels(tmp_path, np.array([[0.001, 1.999, 3.0]], np.float32), 3).tolist() == [[0, 2, 3]]

    @pytest.mark.parametrize("value", [0.5, 1.02, np.nan, np.inf, -np.inf])
    def test_other_numbers_are_refused(self, tmp_path, value):
        with pytest.raises(InputError, match="not whole numbers"):
            whole_labels(tmp_path, np.array([[0, 1], [value, 1]], np.float32), 3)

    @pytest.mark.parametrize(("dtype", "value"), [("i2", -1), ("u1", 4), ("f4", -1.0), ("f4", 300.0), ("i4", 70000)])
    def test_unknown_values_are_named(self, tmp_path, dtype, value):
        with pytest.raises(InputError, match=f"label value {int(value)} is unknown, expected 0..3"):
            whole_labels(tmp_path, np.array([[0, value]], dtype), 3)

    def test_scaling_by_the_header_is_named(self, tmp_path):
        for value, wrong in ((0.5, "label values are not whole numbers"), (6.0, "label value 6 is unknown")):
            with pytest.raises(
                InputError, match=rf"{wrong}.*; the header scales labels \(scl_slope 2.*\): store integers"
            ):
                whole_labels(tmp_path, np.array([[0, value]]), 3, "scl_slope 2, scl_inter 0")

    @pytest.mark.parametrize(("slope", "inter"), [(1 / 255, 0), (1 / 65535, 0), (1e-9, 0), (-1 / 255, 0), (1 / 255, 1)])
    @pytest.mark.parametrize("dtype", ["u1", "i2", "f4"])
    def test_distinct_stored_labels_stay_distinct(self, tmp_path, dtype, slope, inter):
        """All labels would become background, or the label of the intercept."""
        path = write(tmp_path / "a.nii", np.arange(3, dtype=dtype).reshape(3, 1, 1), slope=slope, inter=inter)
        store(path, np.arange(3, dtype=dtype))
        result = read_nifti(path)
        with pytest.raises(InputError, match=r"not whole numbers; the header scales labels \(scl_slope"):
            whole_labels(path, result.array, 3, result.scaling, result.tolerance)

    @pytest.mark.parametrize(("dtype", "most"), [("u1", 1), ("u1", 2), ("i2", 3), ("i2", 13), ("u2", 13), ("i4", 13)])
    def test_labels_that_a_writer_scaled_to_all_stored_numbers_are_kept(self, tmp_path, dtype, most):
        labels = np.arange(most + 1, dtype=np.float64).reshape(-1, 1, 1)
        image = nib.Nifti1Image(labels, np.eye(4))
        image.set_data_dtype(dtype)
        image.to_filename(tmp_path / "a.nii")
        result = read_nifti(tmp_path / "a.nii")
        assert result.scaling
        kept = whole_labels(tmp_path, result.array, most, result.scaling, result.tolerance)
        assert np.array_equal(kept, labels)

    def test_a_mask_of_255_scaled_to_1_is_kept(self, tmp_path):
        path = write(tmp_path / "a.nii", np.zeros((2, 1, 1), np.uint8), slope=1 / 255, inter=0)
        result = read_nifti(store(path, np.array([0, 255], np.uint8)))
        assert whole_labels(path, result.array, 1, result.scaling, result.tolerance).ravel().tolist() == [0, 1]

    def test_labels_divided_by_255_are_refused(self, tmp_path):
        with pytest.raises(InputError, match="not whole numbers"):
            whole_labels(tmp_path, np.array([[0, 1, 2]], np.float32) / 255, 3)

    def test_an_empty_array_is_refused(self, tmp_path):
        with pytest.raises(InputError, match="labels are empty"):
            whole_labels(tmp_path, np.zeros((0, 3), np.uint8), 3)
