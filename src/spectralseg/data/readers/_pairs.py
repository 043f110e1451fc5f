"""Pairs of image and mask files that the patterns of a dataset file join, for several readers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from spectralseg.data.cases import Case, Sample, layout_remedy, match_files
from spectralseg.data.patterns import PathPattern
from spectralseg.errors import InputError

_PLACEHOLDER = re.compile(r"\{([A-Za-z_]\w*)\}")


class Pair(NamedTuple):
    """An image file, its mask file, and the values of the groups of the image pattern."""

    image: Path
    mask: Path
    names: dict[str, str]

    @property
    def id(self) -> str:
        """The group ``id``, or all groups joined by ``_``."""
        return id_of(self.names)

    @property
    def group(self) -> str:
        """The group ``group``, or the id."""
        return self.names.get("group", self.id)

    @property
    def attributes(self) -> dict[str, str]:
        """All other groups."""
        return {name: value for name, value in self.names.items() if name not in ("id", "group")}


def id_of(names: dict[str, str]) -> str:
    """Case id of the values of a pattern's groups."""
    return names.get("id") or "_".join(names.values())


def compile_pattern(option: str, pattern: str) -> PathPattern:
    """A pattern with placeholders ``{name}``.

    Raises:
        InputError: the pattern is not valid; names the reader option.
    """
    try:
        return PathPattern(_PLACEHOLDER.sub(r"(?P<\1>[^/]+?)", pattern))
    except ValueError as error:
        raise InputError(
            f"reader option '{option}': '{pattern[:200]}' is not a valid pattern ({error}); see docs/add-a-dataset.md"
        ) from None


def find_pairs(root: Path, images: str, masks: str) -> tuple[list[Pair], list[Case]]:
    """Pairs below ``root``, and masks without an image, as of withdrawn frames, as cases with a defect.

    Args:
        root: folder of the dataset.
        images: pattern of the image files.
        masks: pattern of the mask files. It shares at least one group with ``images``; shared groups must agree.

    Raises:
        InputError: a pattern is invalid, no file matches, or an image has no mask or several.
    """
    image_pattern, mask_pattern = compile_pattern("images", images), compile_pattern("masks", masks)
    common = sorted(set(image_pattern.names) & set(mask_pattern.names))
    if not common:
        raise InputError(
            f"reader options: 'images' ({images}) and 'masks' ({masks}) have no group in common; "
            "name the shared part in both, e.g. images/{id}.png and masks/{id}.png"
        )
    mask_files = match_files(root, mask_pattern)
    # In one folder, the image pattern {id}.png also matches the masks {id}_mask.png.
    image_files = [(path, names) for path, names in match_files(root, image_pattern) if path not in dict(mask_files)]
    if not image_files:
        remedy = layout_remedy(root, image_pattern, mask_pattern)
        raise InputError(f"{root}: no file matches images '{images}'; {remedy}")
    if not mask_files:
        remedy = layout_remedy(root, mask_pattern, image_pattern)
        raise InputError(f"{root}: no file matches masks '{masks}'; {remedy}")
    mask_of = _index(mask_files, common)
    without_mask = [path for path, names in image_files if _key(names, common) not in mask_of]
    if without_mask:
        raise InputError(
            f"{without_mask[0]}: {len(without_mask)} of {len(image_files)} images, this one first, have no mask that "
            f"matches '{masks}'; complete the masks or fix the pattern"
        )
    image_keys = {_key(names, common) for _, names in image_files}
    withdrawn = [(mask, names) for mask, names in mask_files if _key(names, common) not in image_keys]
    pairs = [Pair(path, mask_of[_key(names, common)], names) for path, names in image_files]
    return pairs, [_withdrawn(mask, names) for mask, names in withdrawn]


def _key(names: dict[str, str], common: Sequence[str]) -> tuple[str, ...]:
    return tuple(names.get(name, "") for name in common)


def _index(mask_files: Sequence[tuple[Path, dict[str, str]]], common: Sequence[str]) -> dict[tuple[str, ...], Path]:
    index: dict[tuple[str, ...], Path] = {}
    for path, names in mask_files:
        other = index.setdefault(_key(names, common), path)
        if other != path:
            raise InputError(f"{path}: a mask of the same image as {other}; remove one or make 'masks' more specific")
    return index


def _withdrawn(mask: Path, names: dict[str, str]) -> Case:
    def refuse() -> Sample:
        raise InputError(f"{mask}: a mask without an image; exclude the case")

    identity = id_of(names)
    return Case(identity, names.get("group", identity), refuse, defect=f"mask {mask.name} without an image")
