"""Entries of the corpus, and paths of files in the phantoms."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

DATASETS = (
    *("acdc", "atlas", "btseg", "coca", "isic2017", "isic2018", "kvasir_seg", "monuseg", "orcascore", "polypgen"),
    "synapse",
)
# One case each, relative to the unpacked phantom.
IMAGE = {
    "atlas": "ATLAS_2/Training/R001/sub-r001s001/ses-1/anat/sub-*_T1w.nii.gz",
    "acdc": "ACDC/database/training/patient049/patient049_frame01.nii.gz",
    "btseg": "[0-9]*.mat",
    "coca": "*/Gated_release_final/patient/236/*/IM-0001-0003.dcm",
    "isic2017": "ISIC-2017_Test_v2_Data/*.jpg",
    "isic2018": "ISIC2018_Task1-2_Training_Input/*.jpg",
    "kvasir_seg": "Kvasir-SEG/images/*.jpg",
    "monuseg": "MoNuSegTestData/*.tif",
    "orcascore": "Challenge_data/Training_set/Images/TRV1P5CTI.mhd",  # with the voxels
    "polypgen": "*/*/data_C2/images_C2/*.jpg",
    "synapse": "RawData/Training/img/*.nii.gz",
}
LABEL = {
    "atlas": "ATLAS_2/Training/R001/sub-r001s001/ses-1/anat/sub-*_mask.nii.gz",
    "acdc": "ACDC/database/training/patient049/patient049_frame01_gt.nii.gz",
    "btseg": "cvind.mat",
    "coca": "*/Gated_release_final/calcium_xml/236.xml",
    "isic2017": "ISIC-2017_Test_v2_Part1_GroundTruth/*.png",
    "isic2018": "ISIC2018_Task1_Training_GroundTruth/*.png",
    "kvasir_seg": "Kvasir-SEG/masks/*.jpg",
    "monuseg": "MoNuSegTestData/*.xml",
    "orcascore": "Challenge_data/Training_set/Images/TRV3P3R.mhd",
    "polypgen": "*/*/data_C2/masks_C2/*.jpg",
    "synapse": "RawData/Training/label/*.nii.gz",
}


@dataclass(frozen=True)
class Entry:
    """One way to spoil a dataset.

    Attributes:
        name: what is wrong.
        dataset: the phantom.
        spoil: changes the folder with the unpacked phantom, or with its archives where ``packed``.
        says: pattern of what ``spectralseg prepare`` says of it: the sentence of its error, or, where ``recorded``,
            the JSON of what it records as remarks and exclusions.
        recorded: the rest of the dataset is prepared all the same.
        packed: see ``spoil``.
        split: name of a split list that ``spoil`` writes into the folder.
    """

    name: str
    dataset: str
    spoil: Callable[[Path], object]
    says: str
    recorded: bool = False
    packed: bool = False
    split: str = ""

    def __str__(self) -> str:
        return f"{self.dataset}: {self.name}"


def first(raw: Path, pattern: str) -> Path:
    return sorted(raw.glob(pattern))[0]


def on(pattern: str, change: Callable[[Path], object]) -> Callable[[Path], object]:
    """A spoiler of the first file that matches."""
    return lambda raw: change(first(raw, pattern))


def on_all(pattern: str, change: Callable[[Path], object]) -> Callable[[Path], object]:
    """A spoiler of all files that match."""

    def spoil(raw):
        for path in sorted(raw.glob(pattern)):
            change(path)

    return spoil


def rewritten(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(change(path.read_bytes()))


def replaced(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)
