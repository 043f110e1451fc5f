"""Invalid split lists, and lists that do not fit the cases; passed as ``split.csv``."""

import csv
import io

from tests.unit.data.bad_input.entry import Entry

HEAD = "case,part\n"


def _ids(raw):
    """Ids of the cases of Kvasir-SEG."""
    return sorted(path.stem for path in raw.glob("Kvasir-SEG/images/*.jpg"))


def _good(raw):
    return [*((name, "train") for name in _ids(raw)[1:]), (_ids(raw)[0], "test")]


def _list(make, dataset="kvasir_seg"):
    """Write the result of ``make(folder)``: bytes, text, or rows below the header."""

    def spoil(raw):
        content = make(raw)
        if isinstance(content, list):
            stream = io.StringIO()
            csv.writer(stream).writerows(content)
            content = HEAD + stream.getvalue()
        (raw / "split.csv").write_bytes(content if isinstance(content, bytes) else content.encode())

    return spoil


def _refused(name, make, says):
    return Entry(f"split: {name}", "kvasir_seg", _list(make), says, split="split.csv")


def _accepted(name, make):
    return Entry(f"split: {name}", "kvasir_seg", _list(make), r"\[\{\}, \{\}\]", recorded=True, split="split.csv")


def _phases_apart(raw):
    """End-diastole for training, end-systole for testing: one patient in two parts."""
    hearts = sorted(path.name for path in raw.glob("ACDC/database/training/patient*"))
    return [(f"{heart}_{phase}", part) for heart in hearts for phase, part in (("ED", "train"), ("ES", "test"))]


ENTRIES = [
    _refused("empty", lambda raw: b"", r"split\.csv: a split list starts with the header 'case,part'"),
    _refused("no header", lambda raw: "a,train\n", r"split\.csv: a split list starts with the header"),
    _refused("no picture of it", lambda raw: bytes(range(256)), r"split\.csv: cannot be read as a split list"),
    _refused("UTF-16", lambda raw: HEAD.encode("utf-16"), r"split\.csv: cannot be read as a split list"),
    _refused(
        "cell without end", lambda raw: HEAD + '"' + "a" * 200_000 + "\n", r"split\.csv: cannot be read as a split list"
    ),
    _refused(
        "unknown part",
        lambda raw: [(_ids(raw)[0], "validate"), *_good(raw)[:-1]],
        r"split\.csv: line '\w+,validate' is not an id and one of",
    ),
    _refused("no id", lambda raw: [("", "train"), *_good(raw)], r"split\.csv: line ',train' is not an id"),
    _refused(
        "three columns", lambda raw: [(*row, "x") for row in _good(raw)], r"split\.csv: line '\w+,train,x' is not an id"
    ),
    _refused("an id twice", lambda raw: [*_good(raw), (_ids(raw)[0], "train")], r"split\.csv: '\w+' is listed twice"),
    _refused(
        "an id twice, once with a space",
        lambda raw: [*_good(raw), (f" {_ids(raw)[0]}", "train")],
        r"split\.csv: '\w+' is listed twice",
    ),
    _refused("an id missing", lambda raw: _good(raw)[1:], r"split\.csv' does not contain \w+"),
    _refused("ids of other data", lambda raw: [("a", "train"), ("b", "test")], r"split\.csv' does not contain \w+"),
    _refused(
        "file names for ids",
        lambda raw: [(f"{name}.jpg", part) for name, part in _good(raw)],
        r"split\.csv' does not contain \w+",
    ),
    _refused(
        "none to test with",
        lambda raw: [(name, "train") for name in _ids(raw)],
        r"split\.csv' has no test case",
    ),
    _accepted("spaces", lambda raw: [(f" {name}\t", f" {part} ") for name, part in _good(raw)]),
    _accepted(
        "line ends of DOS and a byte order mark",
        lambda raw: (
            b"\xef\xbb\xbf"
            + (HEAD + "".join(f"{name},{part}\n" for name, part in _good(raw))).replace("\n", "\r\n").encode()
        ),
    ),
    Entry(
        "split: one patient in two parts",
        "acdc",
        _list(_phases_apart),
        r"acdc: group 'patient\d+' is in two parts \(train and test\)",
        split="split.csv",
    ),
    Entry(
        "split: a folder",
        "kvasir_seg",
        lambda raw: (raw / "split.csv").mkdir(),
        r"split\.csv: the split list is a folder; check the path",
        split="split.csv",
    ),
    Entry(
        "split: not there",
        "kvasir_seg",
        lambda raw: None,
        r"split\.csv: the split list is missing; check the path",
        split="split.csv",
    ),
]
