"""The manifest of a bundle: what it contains, how it was made, and what is missing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from spectralseg.errors import InputError
from spectralseg.files import sha256_of
from spectralseg.loading import read_json
from spectralseg.parsing import refuse_expanding

NAME = "manifest.json"
FORMAT = 1
_LABORATORY = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
_REMEDY = "ask for the bundle again"
_WHAT = "the manifest of a bundle"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class File(_Part):
    """A file of a bundle."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class Dataset(_Part):
    """A dataset of a study; ``identity`` is everything that weights depend on, with the checksums of its files."""

    title: str
    source: str
    licence: str
    citation: str
    homepage: str
    identity: dict[str, Any]


class Runs(_Part):
    """Numbers of runs: in the grid, with metric records, and diverged."""

    planned: int = Field(ge=0)
    recorded: int = Field(ge=0)
    diverged: int = Field(ge=0)


class Manifest(_Part):
    """The manifest.

    Attributes:
        format: version of the format, :data:`FORMAT`.
        laboratory: name of the laboratory, unique among the bundles of a comparison.
        study: name of the study.
        version: of the package that wrote the bundle.
        versions: of the package that trained the runs, sorted.
        commits: of the source with which the runs were trained, sorted; ``+`` marks uncommitted changes.
        datasets: the datasets by name.
        seeds: of the runs with records, sorted.
        runs: their numbers.
        missing: by kind, what the study plans and does not have.
        left_out: by kind, how many files or prepared datasets of the study are not part of the bundle.
        files: all other files by name.
    """

    format: int
    laboratory: str = Field(pattern=_LABORATORY)
    study: str
    version: str
    versions: list[str]
    commits: list[str]
    datasets: dict[str, Dataset]
    seeds: list[int]
    runs: Runs
    missing: dict[str, list[str]]
    left_out: dict[str, int]
    files: dict[str, File]


def check_laboratory(name: str) -> str:
    """The name of a laboratory, if it is valid.

    Raises:
        InputError: it is not.
    """
    if not re.fullmatch(_LABORATORY, name):
        raise InputError(
            f"laboratory '{name}': is not a valid name; give up to 64 letters, digits, '_', '.' and '-', beginning "
            "with a letter or digit"
        )
    return name


def read_manifest(folder: Path, bundle: Path) -> Manifest:
    """The manifest of an unpacked bundle, all of whose files are verified.

    Args:
        folder: the unpacked bundle.
        bundle: its archive, for messages.

    Raises:
        InputError: the manifest is missing, damaged or of another format, a file has other content than the manifest
            says, is missing, or is not in it.
    """
    file = folder / NAME
    if not file.is_file():
        raise InputError(f"{bundle}: has no {NAME}, so it is not a bundle; make one with 'spectralseg bundle'")
    try:
        content = read_json(file, _WHAT, _REMEDY, {"format": int})
    except InputError as error:
        raise InputError(str(error).replace(str(file), f"{bundle}: {NAME}")) from None
    if content["format"] != FORMAT:
        raise InputError(
            f"{bundle}: has format {content['format']} and this version reads format {FORMAT}; use the version of "
            "SpectralSeg that wrote it, or bundle the study again"
        )
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise InputError(f"{bundle}: {NAME}: {key}: {first['msg'][:1].lower()}{first['msg'][1:]}; {_REMEDY}") from None
    for name, dataset in manifest.datasets.items():
        refuse_expanding(dataset.identity, f"{bundle}: {NAME}: datasets.{name}")
    _verify(folder, bundle, manifest)
    return manifest


def _verify(folder: Path, bundle: Path, manifest: Manifest) -> None:
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {NAME}
    for name, file in sorted(manifest.files.items()):
        if name not in present:
            raise InputError(f"{bundle}: {name} is missing, which the manifest lists; {_REMEDY}")
        if sha256_of(folder / name) != file.sha256:
            raise InputError(f"{bundle}: {name} was changed after bundling, as its checksum is another one; {_REMEDY}")
    if extra := sorted(present - set(manifest.files)):
        raise InputError(f"{bundle}: {extra[0]} was added after bundling, as the manifest lacks it; {_REMEDY}")
