"""Recognise which files of a folder are images and masks, from their names only.

Words in names of folders and at the ends of file names, such as ``masks`` or ``_seg``, tell masks from images. A mask
belongs to the image whose path is equal without these words. The patterns for
:mod:`spectralseg.data.readers.paired_images` and :mod:`~spectralseg.data.readers.paired_volumes` follow from the paths.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

VOLUMES = (".nii.gz", ".nii")
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
PARTS = {
    "train": ("train", "training", "tr"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "ts"),
}
_MASKS = (
    *("mask", "masks", "label", "labels", "seg", "segs", "segmentation", "segmentations", "gt", "groundtruth", "truth"),
    *(
        "annotation",
        "annotations",
        "annot",
        "roi",
        "rois",
        "lesion",
        "target",
        "targets",
        "labelmap",
        "contour",
        "anno",
    ),
    *("manual", "delineation", "labelstr", "labelsts"),
)
_IMAGES = (
    *("image", "images", "img", "imgs", "scan", "scans", "vol", "volume", "volumes", "input", "inputs", "photo"),
    *("photos", "picture", "pictures", "frame", "frames", "data", "raw", "original", "originals", "ct", "mr", "mri"),
    *("t1", "t1w", "t1c", "t1ce", "t1gd", "t2", "t2w", "flair", "dwi", "adc", "pet", "us", "tissue", "imagestr"),
    "imagests",
)
_WORDS = re.compile(r"[A-Za-z]+[0-9]?[A-Za-z]*|[0-9]+")
_WORD = "|".join(sorted((*_MASKS, *_IMAGES), key=len, reverse=True))
_SUFFIX = re.compile(rf"(?<=.)(?:[_\-. ](?:{_WORD}))+$", re.IGNORECASE)
_PREFIX = re.compile(rf"(?:(?:{_WORD})(?:[_\-. ]|(?<![0-9])(?=[0-9])))+(?=.)", re.IGNORECASE)
_FEWEST_GROUPS = 3  # one for each of training, validation and test


class _File(NamedTuple):
    """A file name taken apart.

    Attributes:
        path: relative path.
        is_mask: whether a word of masks is in its path.
        folders: names of its folders; those with a word of images or masks are None.
        marked: names of its folders with a word of images or masks; the others are None.
        prefix: words at the start of its name.
        core: its name without these words.
        suffix: words at the end of its name.
        ending: file ending in lower case.
    """

    path: str
    is_mask: bool
    folders: tuple[str | None, ...]
    marked: tuple[str | None, ...]
    prefix: str
    core: str
    suffix: str
    ending: str

    @property
    def key(self) -> tuple[tuple[str, ...], str]:
        """What image and mask have in common."""
        return tuple(folder for folder in self.folders if folder is not None), self.core

    @property
    def template(self) -> tuple[tuple[str | None, ...], str, str]:
        """What the files of one pattern have in common."""
        return self.marked, self.prefix, self.suffix


@dataclass(frozen=True)
class Groups:
    """A guess of the groups in the names of cases.

    Attributes:
        pattern: of the names, with ``{group}``; ``{id}`` without a guess.
        count: number of groups.
        example: a group with several cases; empty without a guess.
        note: why a repeated beginning of names was not taken as a group; else empty.
    """

    pattern: str
    count: int
    example: str = ""
    note: str = ""


@dataclass(frozen=True)
class Layout:
    """Image and mask files of a folder.

    Attributes:
        images: pattern of the images for the reader.
        masks: pattern of the masks.
        pairs: relative paths of image and mask, sorted.
        without_mask: images that match the pattern and have no mask.
        without_image: masks that match the pattern and have no image.
        others: all other files.
        parts: names of folders of the split -> key of :data:`PARTS`; empty without such folders.
        groups: groups in the names; those of folders if names have none.
    """

    images: str
    masks: str
    pairs: tuple[tuple[str, str], ...]
    without_mask: tuple[str, ...]
    without_image: tuple[str, ...]
    others: tuple[str, ...]
    parts: Mapping[str, str]
    groups: Groups


def ending_of(path: str) -> str:
    """File ending in lower case, with ``.nii.gz`` as one."""
    name = path.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else PurePosixPath(name).suffix


def recognise(paths: Sequence[str], endings: Sequence[str]) -> Layout | None:
    """Find pairs of image and mask among files with one of the endings; None without any pair.

    If several patterns of images or masks fit, such as one per MR sequence, the one with most pairs is taken, and the
    first by name of several such; files of the others are in ``others``.
    """
    files = [_taken_apart(path) for path in sorted(paths) if ending_of(path) in endings]
    by_key: dict[tuple[tuple[str, ...], str], list[_File]] = defaultdict(list)
    for file in files:
        by_key[file.key].append(file)
    # A name without a word of images, such as a.png beside a_mask.png, is that of an image.
    matches = [
        (image, mask)
        for members in by_key.values()
        for mask in members
        if mask.is_mask
        for image in members
        if not image.is_mask
    ]
    counts = Counter((image.template, mask.template) for image, mask in matches)
    if not counts:
        return None
    image_template, mask_template = min(counts, key=lambda pair: (-counts[pair], str(pair)))
    pairs = [pair for pair in matches if (pair[0].template, pair[1].template) == (image_template, mask_template)]
    images = [file for file in files if not file.is_mask and file.template == image_template]
    masks = [file for file in files if file.is_mask and file.template == mask_template]
    return _layout(paths, images, masks, pairs)


def _layout(
    paths: Sequence[str], images: Sequence[_File], masks: Sequence[_File], pairs: Sequence[tuple[_File, _File]]
) -> Layout:
    paired = {file.path for pair in pairs for file in pair}
    parts = _parts([image for image, _ in pairs])
    groups = guess_groups([image.core for image, _ in pairs], fewest=2 if "test" in parts.values() else _FEWEST_GROUPS)
    depth = {index for index in range(len(pairs[0][0].key[0])) if len({image.key[0][index] for image, _ in pairs}) > 1}
    names = _folder_names(pairs, depth, parts, groups)
    chosen = {file.path for file in (*images, *masks)}
    if "{group}" in names.values() and groups.pattern == "{id}":
        index = next(index for index, name in names.items() if name == "{group}")
        cores = {image.core for image, _ in pairs}
        pattern = "{name}" if len(cores) > 1 else re.escape(next(iter(cores)))
        groups = Groups(pattern, len({image.key[0][index] for image, _ in pairs}), pairs[0][0].key[0][index])
    elif names and groups.pattern == "{id}":
        groups = Groups("{name}", groups.count, groups.example, groups.note)
    return Layout(
        _pattern([image for image, _ in pairs], names, groups.pattern),
        _pattern([mask for _, mask in pairs], names, groups.pattern),
        tuple((image.path, mask.path) for image, mask in pairs),
        tuple(file.path for file in images if file.path not in paired),
        tuple(file.path for file in masks if file.path not in paired),
        tuple(path for path in sorted(paths) if path not in chosen),
        parts,
        groups,
    )


def _taken_apart(path: str) -> _File:
    *folders, name = path.split("/")
    ending = ending_of(path)
    prefix, core, suffix = _split(name[: len(name) - len(ending)])
    is_marked = [any(word in (*_MASKS, *_IMAGES) for word in _words(folder)) for folder in folders]
    return _File(
        path,
        any(word in _MASKS for part in (*folders, prefix, suffix) for word in _words(part)),
        tuple(None if marked else folder for folder, marked in zip(folders, is_marked, strict=True)),
        tuple(folder if marked else None for folder, marked in zip(folders, is_marked, strict=True)),
        prefix,
        core,
        suffix,
        ending,
    )


def _words(name: str) -> list[str]:
    plain = name.lower()
    return [plain, plain.replace("_", "").replace("-", ""), *_WORDS.findall(plain), *re.split(r"[\W_]+", plain)]


def _split(stem: str) -> tuple[str, str, str]:
    """Prefix, core and suffix of a file name; words count at its start and end, next to a separator or a number."""
    if stem.lower() in (*_MASKS, *_IMAGES):
        return stem, "", ""
    suffix = _SUFFIX.search(stem)
    rest = stem[: suffix.start()] if suffix else stem
    prefix = _PREFIX.match(rest)
    start = prefix[0] if prefix else ""
    return start, rest[len(start) :], suffix[0] if suffix else ""


def _parts(images: Sequence[_File]) -> dict[str, str]:
    """The folder names that divide the dataset into parts; empty unless all files are in one of them."""
    for index in range(len(images[0].key[0])):
        values = {image.key[0][index] for image in images}
        parts = {value: part for value in sorted(values) for part, names in PARTS.items() if value.lower() in names}
        if len(parts) == len(values) > 1:
            return parts
    return {}


def _folder_names(
    pairs: Sequence[tuple[_File, _File]], varying: Iterable[int], parts: Mapping[str, str], groups: Groups
) -> dict[int, str]:
    """Placeholder of each folder that differs between cases, by its index in the key."""
    names: dict[int, str] = {}
    for index in sorted(varying):
        values = {image.key[0][index] for image, _ in pairs}
        if parts and values == set(parts):
            names[index] = "{part}"
        else:
            grouped = "group" in groups.pattern or "{group}" in names.values()
            names[index] = f"{{folder{index}}}" if grouped else "{group}"
    return names


def _pattern(files: Sequence[_File], names: Mapping[int, str], core: str) -> str:
    """Pattern of files of one template: literal folders up to the first that differs are left out."""
    first = files[0]
    folders, index = [], 0
    for marked, folder in zip(first.marked, first.folders, strict=True):
        if marked is not None:
            folders.append(re.escape(marked))
        else:
            folders.append(names.get(index, re.escape(folder or "")))
            index += 1
    while folders and "{" not in folders[0] and first.marked[len(first.marked) - len(folders)] is None:
        folders.pop(0)
    endings = sorted({re.escape(file.ending) for file in files})
    ending = endings[0] if len(endings) == 1 else f"(?:{'|'.join(endings)})"
    return "/".join([*folders, re.escape(first.prefix) + core + re.escape(first.suffix) + ending])


def guess_groups(cores: Sequence[str], fewest: int = _FEWEST_GROUPS) -> Groups:
    """Guess which beginning of the names is shared by the cases of a group, such as a patient.

    The shortest beginning up to a separator that gives at least ``fewest`` groups, at least one of them with several
    cases, is taken, as too large groups cannot leak.
    """
    alone = Groups("{id}", len(cores))
    note = ""
    for sign in "_-":
        pieces = [core.split(sign) for core in cores]
        for length in range(1, min(map(len, pieces), default=1)):
            beginnings = Counter(sign.join(piece[:length]) for piece in pieces)
            if len(beginnings) == len(cores) or len(beginnings) == 1 or "" in beginnings:
                continue
            (example, count), *_ = beginnings.most_common(1)
            if len(beginnings) < fewest:
                note = (
                    note or f"'{example}{sign}' starts {count} names, but there are only {len(beginnings)} such groups"
                )
                continue
            piece = f"[^/{sign}]+"
            group = "{group}" if length == 1 else f"(?P<group>{sign.join([piece] * length)})"
            return Groups(f"{group}{sign}{{name}}", len(beginnings), example)
    return Groups(alone.pattern, alone.count, note=note)
