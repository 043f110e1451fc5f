"""Export of a dataset in the raw layout of nnU-Net v2, with the same training, validation and test cases."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from spectralseg.data import PreparedDataset
from spectralseg.data.archives import unpacked
from spectralseg.data.cases import Case, Sample
from spectralseg.data.fit import FITTINGS
from spectralseg.data.parallel import map_in_order
from spectralseg.data.readers import options_of, read_cases
from spectralseg.data.specification import DatasetSpecification
from spectralseg.errors import InputError
from spectralseg.exchange.label_files import file_ending, file_name, write_array
from spectralseg.files import creating_folder, sha256_of, write_json
from spectralseg.progress import progress_bar

_NAME = re.compile(r"Dataset\d{3}_\w+")
_SUFFIX = {"train": "Tr", "validation": "Tr", "test": "Ts"}


def export_nnunet(
    specification: DatasetSpecification, raw: Path, data: PreparedDataset, out: Path, *, threads: int = 1
) -> None:
    """Write images and labels of a dataset, in native geometry and intensities, into the new folder ``out``.

    Cases of the training and validation part go to ``imagesTr`` and ``labelsTr``, test cases to ``imagesTs`` and
    ``labelsTs``; ``splits_final.json`` has one fold with these training and validation parts. The image file and the
    labels of every case are compared with the prepared dataset.

    Args:
        specification: the dataset.
        raw: raw data of the prepared dataset: archive, folder of archives, or folder in the official layout.
        data: the prepared dataset, which defines cases and parts.
        out: folder that does not exist yet, with a name that nnU-Net accepts, such as ``Dataset501_Polyps``.
        threads: number of cases to read and write in parallel.

    Raises:
        InputError: the name is not valid, ``out`` is not empty, or the raw files differ from the prepared dataset.
    """
    if not _NAME.fullmatch(out.name):
        raise InputError(f"{out}: nnU-Net requires three digits and a name, such as Dataset501_{data.name}; rename it")
    with unpacked(raw, out.parent) as root, options_of(specification.name):
        cases = {case.id: case for case in read_cases(specification.reader, root, specification.reader_options)}
        rows = data.cases.to_dict("records")
        for row in rows:
            if row["case"] not in cases:
                raise InputError(f"{raw}: has no case '{row['case']}'; give what {data.path} was prepared from")
        with creating_folder(out) as folder:
            for part in set(_SUFFIX.values()):
                (folder / f"images{part}").mkdir()
                (folder / f"labels{part}").mkdir()
            write_case = partial(_write_case, folder, data, cases)
            for _ in progress_bar(
                map_in_order(write_case, rows, threads), desc=f"export {data.name}", unit="case", total=len(rows)
            ):
                pass
            parts = {part: data.cases[data.cases["part"] == part]["case"].tolist() for part in _SUFFIX}
            write_json(folder / "splits_final.json", [{"train": parts["train"], "val": parts["validation"]}])
            write_json(folder / "dataset.json", _description(specification, data, len(rows) - len(parts["test"])))


def _write_case(folder: Path, data: PreparedDataset, cases: Mapping[str, Case], row: dict[str, Any]) -> None:
    case, part, ending = cases[row["case"]], _SUFFIX[row["part"]], file_ending(data)
    sample = case.load()
    _refuse_other_case(data, case, row, sample)
    several = sample.geometry is not None and sample.image.ndim == 4  # channels of a volume are files of their own
    for number, image in enumerate(np.moveaxis(sample.image, -1, 0) if several else [sample.image]):
        name = file_name(f"{case.id}_{number:04}", ending)
        write_array(folder / f"images{part}" / name, image, sample.geometry, sample.spacing)
    write_array(folder / f"labels{part}" / file_name(case.id, ending), sample.labels, sample.geometry, sample.spacing)


def _refuse_other_case(data: PreparedDataset, case: Case, row: dict[str, Any], sample: Sample) -> None:
    size, fit_labels = data.info["image_size"], FITTINGS[data.fit].labels
    planes = sample.labels.reshape(-1, *sample.labels.shape[-2:])
    masks = data.masks[row["first"] : row["first"] + row["slices"]]
    same = len(planes) == len(masks) and all(
        np.array_equal(fit_labels(plane, (size, size)), mask) for plane, mask in zip(planes, masks, strict=True)
    )
    if not same or sample.labels.shape != data.native_shape(case.id):
        problem = "labels"
    elif case.image is not None and sha256_of(case.image) != row["image_sha256"]:
        problem = "image"
    else:
        return
    raise InputError(f"{data.path}: the raw {problem} of case '{case.id}' differ from what was prepared; prepare again")


def _description(specification: DatasetSpecification, data: PreparedDataset, training: int) -> dict[str, Any]:
    # nnU-Net normalises a channel named CT with intensities of the whole dataset, any other channel per image.
    window = specification.intensity is not None and specification.intensity.window is not None
    name = "CT" if window else specification.modality
    if specification.channels == 1:
        channels = [name]
    else:
        channels = ["R", "G", "B"] if specification.dimensions == 2 else [f"{name} {n}" for n in range(3)]
    return {
        "channel_names": {str(number): name for number, name in enumerate(channels)},
        "labels": {"background": 0, **{name: label for label, name in enumerate(data.classes, 1)}},
        "numTraining": training,
        "file_ending": file_ending(data),
        "name": data.name,
        "description": specification.title,
        "reference": specification.citation,
        "licence": specification.licence,
        "source": data.info["source"],
    }
