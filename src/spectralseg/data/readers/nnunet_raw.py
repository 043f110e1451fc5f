"""The raw layout of nnU-Net: ``imagesTr``, ``labelsTr``, optionally ``imagesTs`` and ``labelsTs``, ``dataset.json``.

Images are named ``<case>_0000.nii.gz``, ``<case>_0001.nii.gz``, one file per channel, and labels ``<case>.nii.gz``.
``dataset.json`` of version 2 (``channel_names``, ``labels`` by name) and of version 1 (``modality``, ``labels`` by
value) is read. Images may be NIfTI volumes or two-dimensional pictures with one file per case.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from spectralseg.data.cases import Case, find_files, layout_remedy, match_files
from spectralseg.data.patterns import PathPattern
from spectralseg.data.readers import paired_images
from spectralseg.data.readers._limits import MAX_TEXT_BYTES
from spectralseg.data.readers._pairs import compile_pattern
from spectralseg.data.readers.paired_volumes import Slices, load_channels
from spectralseg.errors import InputError
from spectralseg.parsing import read_json

DESCRIPTION = "dataset.json"
PARTS = {"Tr": "train", "Ts": "test"}
VOLUMES = (".nii.gz", ".nii")
PICTURES = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")
CHANNELS = (1, 3)  # that a specification may have
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Description:
    """Content of ``dataset.json``.

    Attributes:
        folder: folder of the file.
        ending: of all images and labels, such as ``.nii.gz``.
        channels: number in file names -> name of the channel.
        labels: value of every label, background first -> name.
    """

    folder: Path
    ending: str
    channels: dict[str, str]
    labels: dict[int, str]


def read_description(root: Path) -> Description:
    """Read the only ``dataset.json`` below ``root`` that lies beside a folder ``imagesTr``.

    Raises:
        InputError: there is none or several, or the file lacks channels or labels, or has regions or an ``ignore``
            label, which the suite does not support.
    """
    files = [file for file in find_files(root, DESCRIPTION) if (file.parent / "imagesTr").is_dir()]
    if not files:
        remedy = layout_remedy(root, DESCRIPTION, PathPattern(r"imagesTr/[^/]+"))
        raise InputError(f"{root}: has no '{DESCRIPTION}' beside a folder 'imagesTr'; {remedy}")
    if len(files) > 1:
        raise InputError(f"{root}: holds {len(files)} datasets of nnU-Net, {files[0].parent} first; give one of them")
    file = files[0]
    content = read_json(file, MAX_TEXT_BYTES, "restore the file of the dataset")
    if not isinstance(content, dict):
        raise InputError(f"{file}: is not a JSON object; restore the file of the dataset")
    ending = content.get("file_ending", ".nii.gz")
    if ending not in (*VOLUMES, *PICTURES):
        raise InputError(
            f"{file}: 'file_ending' is {ending!r}, which is not read; convert the files to NIfTI or to pictures, "
            f"{', '.join((*VOLUMES, *PICTURES))}"
        )
    return Description(file.parent, ending, _channels(file, content), _labels(file, content))


def _channels(file: Path, content: dict[str, Any]) -> dict[str, str]:
    names = content.get("channel_names", content.get("modality"))
    if not isinstance(names, dict) or not names or not all(re.fullmatch("[0-9]{1,4}", str(key)) for key in names):
        raise InputError(
            f"{file}: 'channel_names' is not an object of numbers and names; write e.g. "
            '{"0": "T1", "1": "FLAIR"}, with the number first'
        )
    return {f"{int(number):04}": str(name) for number, name in sorted(names.items(), key=lambda item: int(item[0]))}


def _labels(file: Path, content: dict[str, Any]) -> dict[int, str]:
    labels = content.get("labels")
    if not isinstance(labels, dict) or len(labels) < 2:
        raise InputError(f"{file}: 'labels' is not an object with background and a class; restore the file")
    if "ignore" in labels:
        raise InputError(f"{file}: has an 'ignore' label, which is not supported; give completely annotated labels")
    if any(isinstance(value, list) for value in labels.values()):
        raise InputError(f"{file}: has regions, labels of several values, which are not read; give one value per label")
    old = all(re.fullmatch("[0-9]{1,5}", key) for key in labels)  # version 1: value -> name
    pairs = [(key, value) if old else (value, key) for key, value in labels.items()]
    if not all(re.fullmatch("[0-9]{1,5}", str(value)) for value, _ in pairs):
        raise InputError(f"{file}: 'labels' has a value that is not a whole number; restore the file")
    by_value = {int(value): str(name) for value, name in pairs}
    if len(by_value) < len(labels) or 0 not in by_value:
        raise InputError(f"{file}: 'labels' needs different values, 0 for the background; restore the file")
    return dict(sorted(by_value.items()))


def read(
    root: Path, *, channels: Sequence[str] | None = None, cases: str = "{id}", slices: Slices = "axial"
) -> list[Case]:
    """List the labelled cases of both parts; the attribute ``part`` is ``train`` or ``test``.

    Labels become 0..K in the order of their values. Test images without labels are counted in the log.

    Args:
        root: folder of the dataset, or one above it.
        channels: names or numbers, such as ``T1`` or ``0000``, of one or three channels; by default all, if there are
            one or three.
        cases: pattern of case identifiers, with groups as in :mod:`~spectralseg.data.readers.paired_images`, e.g.
            ``{group}_{visit}``.
        slices: see :func:`spectralseg.data.readers.paired_volumes.read`.

    Raises:
        InputError: ``dataset.json`` is missing or not supported, a channel is unknown, their number is neither one nor
            three, a file of a case is missing, or an identifier does not match ``cases``.
    """
    description = read_description(root)
    numbers = _chosen(description, channels)
    if "{id}" not in cases and "(?P<id>" not in cases:
        cases = f"(?P<id>{cases})"
    pattern = compile_pattern("cases", cases)
    if description.ending in PICTURES:
        return _pictures(description, numbers, cases)
    files = _files(description)
    listed = []
    for part, name in PARTS.items():
        images, labels = files[f"images{part}"], files[f"labels{part}"]
        keys = {case for case, _ in images}
        if part == "Tr" or labels:
            _refuse_unpaired(description, part, keys, {case for case, _ in labels})
            listed += [
                _case(description, _names(description, pattern, case), name, paths, labels[case, ""], slices)
                for case in sorted(keys)
                for paths in [_channel_files(description, case, numbers, images)]
            ]
        else:
            _log.info("%s: ignored %d test cases without labels", description.folder, len(keys))
    return listed


def labels_of(description: Description, image: Path) -> Path:
    """Label file of an image file."""
    case = image.name[: -len(f"_0000{description.ending}")]
    return image.parent.with_name(image.parent.name.replace("images", "labels")) / f"{case}{description.ending}"


_Files = dict[tuple[str, str], Path]  # (case, channel; empty for labels) -> file


def _chosen(description: Description, channels: Sequence[str] | None) -> list[str]:
    """Numbers of the chosen channels."""
    available = description.channels
    listed = ", ".join(f"{number} {name}" for number, name in available.items())
    numbers = list(available) if channels is None else []
    for channel in channels or ():
        matches = [number for number, name in available.items() if channel in (number, name)]
        if len(matches) != 1:
            raise InputError(f"reader option 'channels': '{channel}' is not a channel of the dataset; it has {listed}")
        numbers += matches
    if len(numbers) not in CHANNELS or len(set(numbers)) < len(numbers):
        raise InputError(
            f"reader option 'channels': {len(numbers)} channels are chosen, but networks take one or three different "
            f"ones; name them in 'channels', of {listed}"
        )
    return numbers


def _files(description: Description) -> dict[str, _Files]:
    ending = re.escape(description.ending)
    files: dict[str, _Files] = {f"{kind}{part}": {} for kind in ("images", "labels") for part in PARTS}
    for kind, name in (("images", r"(?P<case>[^/]+)_(?P<channel>[0-9]{4})"), ("labels", r"(?P<case>[^/]+)")):
        for part in PARTS:
            folder = description.folder / f"{kind}{part}"
            if folder.is_dir():
                for path, names in match_files(folder, PathPattern(name + ending)):
                    files[f"{kind}{part}"][names["case"], names.get("channel", "")] = path
    if not files["imagesTr"]:
        raise InputError(
            f"{description.folder / 'imagesTr'}: no file is named like <case>_0000{description.ending}; "
            "restore the images, or correct 'file_ending' in dataset.json"
        )
    return files


def _refuse_unpaired(description: Description, part: str, images: set[str], labels: set[str]) -> None:
    for case in sorted(images ^ labels):
        kind, missing = ("labels", "labels") if case in images else ("images", "images")
        count = len(images - labels if case in images else labels - images)
        raise InputError(
            f"{description.folder / f'{kind}{part}'}: {count} cases have no {missing}, case '{case}' first; "
            "restore them, or remove the other files of these cases"
        )


def _channel_files(description: Description, case: str, numbers: Sequence[str], images: _Files) -> tuple[Path, ...]:
    for number in numbers:
        if (case, number) not in images:
            raise InputError(
                f"{description.folder}: case '{case}' has no file {case}_{number}{description.ending}; restore it"
            )
    return tuple(images[case, number] for number in numbers)


def _names(description: Description, pattern: PathPattern, case: str) -> dict[str, str]:
    (names,) = pattern.captures([case])
    if names is None:
        raise InputError(f"{description.folder}: case '{case}' does not match the reader option 'cases'; correct it")
    return names


def _case(
    description: Description, names: dict[str, str], part: str, images: tuple[Path, ...], labels: Path, slices: Slices
) -> Case:
    attributes = {"part": part} | {key: value for key, value in names.items() if key not in ("id", "group")}
    load = partial(load_channels, images, labels, list(description.labels), slices)
    return Case(names["id"], names.get("group", names["id"]), load, attributes, images[0])


def _pictures(description: Description, numbers: Sequence[str], cases: str) -> list[Case]:
    """Cases of two-dimensional pictures, one file each, whose colours are the channels."""
    files = _files(description)
    several = sorted({channel for _, channel in files["imagesTr"]})
    if several != ["0000"]:
        raise InputError(
            f"{description.folder}: pictures have several files per case ({', '.join(several)}), which is not read; "
            "store the channels of a picture in one file"
        )
    ending = re.escape(description.ending)
    labelled = [part for part in PARTS if files[f"labels{part}"] or part == "Tr"]
    if "Ts" not in labelled:
        _log.info("%s: ignored %d test cases without labels", description.folder, len(files["imagesTs"]))
    part = f"(?P<part>{'|'.join(labelled)})"
    listed = paired_images.read(
        description.folder,
        images=rf"images{part}/{cases}_0000{ending}",
        masks=rf"labels{part}/{cases}{ending}",
        values=list(description.labels),
        grey=len(numbers) == 1,
    )
    return [
        replace(case, attributes={**case.attributes, "part": PARTS[part]})
        for case in listed
        for part in [case.attributes.get("part", "Tr")]
    ]
