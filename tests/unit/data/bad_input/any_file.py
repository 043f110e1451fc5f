"""Files of any format that are damaged, replaced or missing."""

import os
import re
from pathlib import Path

from tests.unit.data.bad_input.entry import DATASETS, IMAGE, LABEL, Entry, on, replaced, rewritten


def _instead(make):
    """Replace a file by something else."""

    def spoil(path: Path) -> None:
        path.unlink()
        make(path)

    return spoil


SPOILERS = {
    "empty": replaced(b""),
    "truncated": rewritten(lambda content: content[: len(content) // 2]),
    "an error page": replaced(b"<html><body>Too many users have viewed this file</body></html>"),
    "noise": replaced(bytes(range(7, 256)) * 20),
    "a folder": _instead(Path.mkdir),
    "a link that leads nowhere": _instead(lambda path: path.symlink_to("nowhere")),
    "a link to itself": _instead(lambda path: path.symlink_to(path.name)),
    "a pipe": _instead(os.mkfifo),
}

ENTRIES = [
    Entry(f"{what} is {how}", dataset, on(files[dataset], spoil), re.escape(Path(files[dataset]).suffix))
    for what, files in (("an image", IMAGE), ("a label file", LABEL))
    for how, spoil in SPOILERS.items()
    for dataset in DATASETS
] + [
    Entry("a label file is missing", dataset, on(LABEL[dataset], Path.unlink), says)
    for dataset, says in {
        "acdc": r"patient049_frame01_gt\.nii\.gz: Info\.cfg gives this frame as E[DS], but the file is missing",
        "atlas": r"sub-r001s001_\S+_T1w\.nii\.gz: the lesion mask of this scan is missing; restore it",
        "btseg": r"no file matches 'cvind\.mat'",
        "isic2017": r"ISIC_\d+\.jpg: 1 of \d images, this one first, have no mask",
        "isic2018": r"ISIC_\d+\.jpg: 1 of \d images, this one first, have no mask",
        "kvasir_seg": r"\w+\.jpg: 1 of \d images, this one first, have no mask",
        "monuseg": r"TCGA-\S+\.xml: the annotation of tile \S+ is missing",
        "orcascore": r"TRV3P3CTI\.mhd: the reference mask of case TRV3P3 is missing; restore it, or remove this file",
        "polypgen": r"\w+\.jpg: 1 of \d+ images, this one first, have no mask",
        "synapse": r"img\d+\.nii\.gz: the label file of case \d+ is missing",
    }.items()
]
