"""Brain slices in MATLAB v7.3 files, which are HDF5."""

import shutil
import zlib

import h5py
import numpy as np
import scipy.io
from tests.unit.data.bad_input.entry import IMAGE, Entry, first, on, on_all, replaced

SLICE = IMAGE["btseg"]
MAT = r"\d+\.mat: "


def _dataset(name, value=None, **options):
    """Replace an HDF5 dataset, or remove it without value and options."""

    def change(path):
        with h5py.File(path, "r+") as file:
            del file[name]
            if value is not None or options:
                file.create_dataset(name, data=value, **options)

    return on(SLICE, change)


def _redrawn(name, draw):
    def change(path):
        with h5py.File(path, "r+") as file:
            drawn = draw(file[name][()])
            del file[name]
            file[name] = drawn

    return change


def _link(name, link):
    def spoil(raw):
        with h5py.File(raw / "elsewhere.h5", "w") as file:
            file["cjdata/image"] = np.ones((24, 24))
        with h5py.File(first(raw, SLICE), "r+") as file:
            file.move(name, "moved")
            file[name] = link
        # The links refer to an existing file outside the dataset.
        shutil.move(raw / "elsewhere.h5", raw.parent / "elsewhere.h5")

    return spoil


def _stored_elsewhere(raw):
    (raw.parent / "elsewhere.raw").write_bytes(bytes(24 * 24))
    _dataset("cjdata/image", shape=(24, 24), dtype=np.uint8, external=[(str(raw.parent / "elsewhere.raw"), 0, 576)])(
        raw
    )


def _virtual(raw):
    layout = h5py.VirtualLayout((24, 24), np.uint8)
    layout[:] = h5py.VirtualSource(str(raw.parent / "elsewhere.h5"), "x", (24, 24))
    with h5py.File(first(raw, SLICE), "r+") as file:
        del file["cjdata/image"]
        file.create_virtual_dataset("cjdata/image", layout)


def _reference(raw):
    with h5py.File(first(raw, SLICE), "r+") as file:
        target = file["cjdata/image"].ref
        del file["cjdata/image"]
        file.create_dataset("cjdata/image", data=target, dtype=h5py.ref_dtype)


def _group(raw):
    with h5py.File(first(raw, SLICE), "r+") as file:
        del file["cjdata/image"]
        file.create_group("cjdata/image")


def _folds(**variables):
    return lambda raw: scipy.io.savemat(raw / "cvind.mat", variables, do_compression=True)


def _older_format(path):
    scipy.io.savemat(path, {"cjdata": {"image": np.ones((24, 24)), "tumorMask": np.ones((24, 24))}})


def _copied(to):
    def spoil(raw):
        target = raw / to(first(raw, SLICE))
        target.parent.mkdir(exist_ok=True)
        shutil.copy(first(raw, SLICE), target)

    return spoil


def _bomb(raw):
    """A chunk that inflates to 64 MiB instead of 1 KiB."""
    with h5py.File(first(raw, SLICE), "r+") as file:
        del file["cjdata/image"]
        image = file.create_dataset("cjdata/image", shape=(24, 24), dtype=np.int16, chunks=(24, 24), compression="gzip")
        image.id.write_direct_chunk((0, 0), zlib.compress(bytes(2**26)))


ENTRIES = [
    Entry("chunk that inflates without end", "btseg", _bomb, MAT + "'cjdata/image' inflates to more than its 1152"),
    Entry(
        "chunk of a gigabyte",
        "btseg",
        _dataset("cjdata/image", shape=(24, 24), dtype=np.int8, chunks=(2**14, 2**14), maxshape=(None, None)),
        MAT + "'cjdata/image' lies in chunks of 268435456 numbers",
    ),
    Entry(
        "another filter",
        "btseg",
        _dataset("cjdata/image", np.ones((24, 24)), compression="lzf"),
        MAT + "'cjdata/image' is compressed by other filters than MATLAB's",
    ),
    Entry(
        "promises 10 gigapixels",
        "btseg",
        _dataset("cjdata/image", shape=(100_000, 100_000), dtype=np.int16, chunks=(1000, 1000)),
        MAT + "'cjdata/image' is 100000 x 100000 in size",
    ),
    Entry(
        "promises pixels and stores none",
        "btseg",
        _dataset("cjdata/image", shape=(24, 24), dtype=np.int16, chunks=(4, 4)),
        MAT + "'cjdata/image' should have 1152 bytes, which 0 stored ones cannot hold",
    ),
    Entry(
        "mask in another file",
        "btseg",
        _link("cjdata/tumorMask", h5py.ExternalLink("../elsewhere.h5", "/cjdata/image")),
        MAT + "'cjdata/tumorMask' is missing or a link",
    ),
    Entry(
        "group in another file",
        "btseg",
        _link("cjdata", h5py.ExternalLink("../elsewhere.h5", "/cjdata")),
        MAT + "'cjdata/PID' is missing or a link",
    ),
    Entry(
        "link within the file",
        "btseg",
        _link("cjdata/image", h5py.SoftLink("/moved")),
        MAT + "'cjdata/image' is missing or a link",
    ),
    Entry("pixels in another file", "btseg", _stored_elsewhere, MAT + "'cjdata/image' lies in another file"),
    Entry("pixels put together from other files", "btseg", _virtual, MAT + "'cjdata/image' lies in another file"),
    Entry("a reference for an image", "btseg", _reference, MAT + "'cjdata/image' holds no numbers"),
    Entry("a group for an image", "btseg", _group, MAT + "'cjdata/image' holds no numbers"),
    Entry("text for an image", "btseg", _dataset("cjdata/image", "text"), MAT + "'cjdata/image' holds no numbers"),
    Entry(
        "nothing for an image",
        "btseg",
        _dataset("cjdata/image", h5py.Empty(np.int16)),
        MAT + "'cjdata/image' holds no numbers",
    ),
    Entry(
        "complex image",
        "btseg",
        _dataset("cjdata/image", np.ones((24, 24), np.complex64)),
        MAT + "'cjdata/image' holds no numbers",
    ),
    Entry("image missing", "btseg", _dataset("cjdata/image"), MAT + "'cjdata/image' is missing"),
    Entry("everything missing", "btseg", _dataset("cjdata"), MAT + "'cjdata/PID' is missing"),
    Entry(
        "three axes",
        "btseg",
        _dataset("cjdata/image", np.ones((24, 24, 3))),
        MAT + "'cjdata/image' has 3 axes instead of 2",
    ),
    Entry(
        "no pixels", "btseg", _dataset("cjdata/image", np.ones((0, 24))), MAT + r"'cjdata/image' is empty \(0 x 24\)"
    ),
    Entry(
        "mask of another size",
        "btseg",
        _dataset("cjdata/tumorMask", np.ones((23, 24), np.uint8)),
        MAT + r"labels have shape \(23, 24\)",
    ),
    Entry(
        "mask of 255",
        "btseg",
        on(SLICE, _redrawn("cjdata/tumorMask", lambda m: m * 255)),
        MAT + "label value 255 is unknown",
    ),
    Entry(
        "mask NaN",
        "btseg",
        on(SLICE, _redrawn("cjdata/tumorMask", lambda m: np.where(m, np.nan, 0.0))),
        MAT + "label values are not whole",
    ),
    Entry(
        "image NaN",
        "btseg",
        on(SLICE, _redrawn("cjdata/image", lambda i: np.where(i > i.mean(), np.nan, i))),
        r"case '\d+' has values that are not finite",
    ),
    Entry(
        "constant image", "btseg", on(SLICE, _redrawn("cjdata/image", np.ones_like)), '"constant image"', recorded=True
    ),
    Entry(
        "mask empty", "btseg", on(SLICE, _redrawn("cjdata/tumorMask", np.zeros_like)), '"no foreground"', recorded=True
    ),
    Entry(
        "all masks empty",
        "btseg",
        on_all(SLICE, _redrawn("cjdata/tumorMask", np.zeros_like)),
        "none of the .* for training has foreground",
    ),
    Entry("older format", "btseg", on(SLICE, _older_format), MAT + "cannot be read as a MATLAB v7.3 slice"),
    Entry("patient number of text", "btseg", _dataset("cjdata/PID", "100360"), MAT + "'cjdata/PID' holds no numbers"),
    Entry(
        "patient number without end",
        "btseg",
        _dataset("cjdata/PID", np.full((5000, 1), 65, np.uint16)),
        MAT + "'cjdata/PID' is 5000 x 1 in size",
    ),
    Entry(
        "patient number of fractions", "btseg", _dataset("cjdata/PID", np.full((5, 1), 65.5)), MAT + "cannot be read"
    ),
    Entry(
        "patient number of no characters",
        "btseg",
        _dataset("cjdata/PID", np.full((5, 1), 0xD800, np.uint16)),
        r"case '\d+': .* has unprintable characters",
    ),
    Entry(
        "patient number blank",
        "btseg",
        _dataset("cjdata/PID", np.full((5, 1), 32, np.uint16)),
        MAT + "has no patient number",
    ),
    Entry(
        "unknown tumour",
        "btseg",
        _dataset("cjdata/label", [[4.0]]),
        MAT + "has no patient number or an unknown tumour type 4",
    ),
    Entry("tumour NaN", "btseg", _dataset("cjdata/label", [[np.nan]]), MAT + "cannot be read"),
    Entry("folds too few", "btseg", _folds(cvind=np.ones((1, 5))), MAT + r"cvind\.mat has no fold for slice"),
    Entry(
        "folds unknown", "btseg", _folds(cvind=np.full((1, 3064), 6.0)), r"cvind\.mat: fold numbers other than 1\.\.5"
    ),
    Entry(
        "folds NaN", "btseg", _folds(cvind=np.full((1, 3064), np.nan)), r"cvind\.mat: fold numbers other than 1\.\.5"
    ),
    Entry("folds of text", "btseg", _folds(cvind="five"), r"cvind\.mat: fold numbers other than 1\.\.5"),
    Entry(
        "folds of objects",
        "btseg",
        _folds(cvind=np.array([[1], [{"a": 1}]], object)),
        r"cvind\.mat: fold numbers other than 1\.\.5",
    ),
    Entry(
        "folds without end", "btseg", _folds(cvind=np.ones((1, 2**21))), r"cvind\.mat: 'cvind' is 1 x 2097152 in size"
    ),
    Entry(
        "folds under another name",
        "btseg",
        _folds(folds=np.ones((1, 3064))),
        r"cvind\.mat: cannot be read as a MATLAB file with a variable 'cvind'",
    ),
    Entry(
        "folds twice",
        "btseg",
        lambda raw: shutil.copy(raw / "cvind.mat", (raw / "copy.d").mkdir() or raw / "copy.d" / "cvind.mat"),
        r"cvind\.mat: .* appears twice",
    ),
    Entry(
        "fold file with a sparse matrix",
        "btseg",
        lambda raw: scipy.io.savemat(raw / "cvind.mat", {"cvind": scipy.sparse.csc_matrix((1, 3064))}),
        r"cvind\.mat: ",
    ),
    Entry("one number twice", "btseg", _copied(lambda path: f"0{path.name}"), r"case '\d+' appears twice"),
    Entry(
        "a copy that a browser named",
        "btseg",
        _copied(lambda path: f"{path.stem} (1).mat"),
        r" \(1\)\.mat: is neither cvind\.mat nor a slice",
    ),
    Entry(
        "slice beyond the folds",
        "btseg",
        _copied(lambda path: "9999.mat"),
        r"9999\.mat: cvind\.mat has no fold for slice 9999",
    ),
    Entry(
        "a MATLAB file of noise",
        "btseg",
        on(SLICE, replaced(b"MATLAB 7.3 MAT-file" + bytes(493) + b"\x89HDF\r\n\x1a\n" + bytes(range(256)) * 8)),
        MAT + "cannot be read",
    ),
]
