"""The specification of a dataset.

A dataset is one file, ``workflow/rules/datasets/<name>.smk``. It starts with a literal ``SPECIFICATION = {...}``, which
:func:`read_specification` parses without executing the file. The rules of the dataset follow below.
"""

from __future__ import annotations

import ast
import math
import re
import unicodedata
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from spectralseg.errors import InputError
from spectralseg.files import read_text
from spectralseg.parsing import refuse_expanding

Fit = Literal["resize", "crop"]  # implemented in spectralseg.data.fit
_MAX_BYTES = 2**20
# Names with another meaning in records and predictions, see spectralseg.metrics.records.
RESERVED_CLASSES = ("all", "background", "mean")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_ADDRESS = r"^(https?://\S+|synapse:syn[0-9]+|gdrive:[A-Za-z0-9_-]+)$"


class SourceFile(_Strict):
    """One file of the official distribution."""

    file: str = Field(description="name under which the file is stored", pattern=r"^[^./\\][^/\\]*$")
    url: str = Field(
        description="address https://..., synapse:<id of the file or of its folder> or gdrive:<id>",
        pattern=_ADDRESS,
    )
    mirrors: tuple[Annotated[str, Field(pattern=_ADDRESS)], ...] = Field(
        (), description="other addresses of the same file"
    )
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    md5: str | None = Field(None, pattern=r"^[0-9a-f]{32}$")
    built_on_request: bool = Field(False, description="the server builds it on request: accept another checksum")


# Defaults of keys that were added later are left out of recorded specifications, so that datasets prepared before stay
# valid.
def _is_none(value: object) -> bool:
    return value is None


def _is_resize(value: object) -> bool:
    return value == "resize"


class Intensity(_Strict):
    """How native intensities are mapped to [0, 1]: exactly one of the keys. The default divides 8-bit images by 255.

    ``nonzero_percentiles`` suits images whose background was set to zero: its share differs between cases.
    """

    window: tuple[float, float] | None = Field(None, description="clip to these values (Hounsfield units for CT)")
    percentiles: tuple[float, float] | None = Field(None, description="clip each case to its own percentiles")
    nonzero_percentiles: tuple[float, float] | None = Field(
        None, description="clip each case to percentiles of its values other than 0", exclude_if=_is_none
    )

    @model_validator(mode="after")
    def _one_key(self) -> Intensity:
        if sum(rule is not None for rule in (self.window, self.percentiles, self.nonzero_percentiles)) != 1:
            raise ValueError("give exactly one of 'window', 'percentiles' and 'nonzero_percentiles'")
        return self

    @field_validator("window")
    @classmethod
    def _ascending_window(cls, window: tuple[float, float] | None) -> tuple[float, float] | None:
        if window is not None and not -math.inf < window[0] < window[1] < math.inf:
            raise ValueError(f"{list(window)} is not a window; give the lower, then the upper value, e.g. [-125, 275]")
        return window

    @field_validator("percentiles", "nonzero_percentiles")
    @classmethod
    def _ascending_percentiles(cls, percentiles: tuple[float, float] | None) -> tuple[float, float] | None:
        if percentiles is not None and not 0 <= percentiles[0] < percentiles[1] <= 100:
            raise ValueError(f"{list(percentiles)} are not percentiles; give two of 0 to 100 in ascending order")
        return percentiles


class Lesions(_Strict):
    """Metrics of single lesions (:mod:`spectralseg.metrics.lesions`), in addition to those of every dataset."""

    connectivity: Literal[4, 8, 6, 18, 26] | None = Field(
        None,
        description="neighbours of a pixel within a lesion: 4 or 8 in images, 6, 18 or 26 in volumes; default: all",
    )
    agatston: bool = Field(
        False, description="also Agatston scores; needs CT volumes with a 'window' that are not resampled"
    )


class Split(_Strict):
    """How cases are split: exactly one rule. Without a validation part, one is drawn from the training part."""

    list: str | None = Field(None, description="name of a published list in spectralseg/data/splits, or a .csv file")
    key: Literal["case", "group"] = Field("case", description="whether the list contains cases or groups")
    attribute: str | None = Field(None, description="case attribute that defines the parts, e.g. a published fold")
    test: tuple[str, ...] = Field((), description="values of the attribute for the test part")
    validation: tuple[str, ...] = Field((), description="values of the attribute for the validation part")
    random: float | None = Field(None, gt=0, lt=1, description="share of groups in the test part")
    everything: Literal["test"] | None = Field(None, description="a test-only dataset")
    provenance: str | None = Field(None, description="source of the rule, unless its list states it")

    @model_validator(mode="after")
    def _one_rule(self) -> Split:
        rules = [self.list, self.attribute, self.random, self.everything]
        if sum(rule is not None for rule in rules) != 1:
            raise ValueError("give exactly one of 'list', 'attribute', 'random' and 'everything'")
        if (self.attribute is not None) != bool(self.test) or (self.validation and self.attribute is None):
            raise ValueError("'attribute' and 'test' need each other, and 'validation' needs both")
        return self


class DatasetSpecification(_Strict):
    """Specification of a dataset. ``classes`` are the foreground classes in the order of their labels, 1..K."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str
    modality: str
    classes: tuple[str, ...] = Field(min_length=1)
    dimensions: Literal[2, 3] = Field(description="3 if cases are volumes, which are segmented slice by slice")
    channels: Literal[1, 3]
    licence: str
    citation: str
    homepage: str
    sources: tuple[SourceFile, ...] = ()
    megabytes: float | None = Field(
        None, gt=0, description="size of all sources in MB, about, for estimates of time", exclude_if=_is_none
    )
    reader: str = Field(description="module in spectralseg/data/readers")
    reader_options: dict[str, Any] = {}
    intensity: Intensity | None = None
    fit: Fit = Field(
        "resize",
        description="how slices reach the network size: 'resize' resamples them whatever their aspect ratio, 'crop' "
        "crops or zero-pads them about their centre",
        exclude_if=_is_resize,
    )
    lesions: Lesions | None = Field(None, description="metrics of single lesions; none by default", exclude_if=_is_none)
    split: Split
    alternative_splits: dict[str, Split] = Field({}, description="further splits that a configuration may choose")
    id_namespace: str | None = Field(
        None, description="datasets that share it use the same ids for the same images or patients; default: the name"
    )
    expected_cases: int | None = Field(None, description="number of labelled cases in the complete dataset")
    exclude: dict[str, str] = Field({}, description="case id -> reason for its exclusion")
    ood: tuple[str, ...] = Field((), description="datasets on which models trained on this one are tested, too")

    @property
    def access(self) -> str:
        """How to get the files of a dataset that cannot be downloaded; empty if it has sources."""
        if self.sources:
            return ""
        return (
            f"{self.title} has no 'sources' to download; register at {self.homepage}, and set 'source: path' with the "
            "'path' of your files"
        )

    def shaping(self) -> dict[str, Any]:
        """The keys that a prepared dataset depends on: all but descriptive ones, sources and splits."""
        descriptive = {"title", "licence", "citation", "homepage", "sources", "megabytes"}
        return self.model_dump(mode="json", exclude={*descriptive, "split", "alternative_splits"})

    @field_validator("lesions")
    @classmethod
    def _possible_lesions(cls, lesions: Lesions | None, info: ValidationInfo) -> Lesions | None:
        if lesions is None or "dimensions" not in info.data:
            return lesions
        # Imported here, as the workflow reads specifications and needs no metrics.
        from spectralseg.metrics.lesions import CALCIUM, CONNECTIVITIES, DENSEST

        dimensions, intensity = info.data["dimensions"], info.data.get("intensity")
        valid = CONNECTIVITIES[dimensions]
        if lesions.connectivity not in (None, *valid):
            names = ", ".join(map(str, valid))
            raise ValueError(f"connectivity {lesions.connectivity} is not one of {dimensions}-D; choose from {names}")
        low, high = (intensity and intensity.window) or (CALCIUM, CALCIUM)
        if lesions.agatston and not (dimensions == 3 and low < CALCIUM and high >= DENSEST):
            raise ValueError(
                f"'agatston' needs volumes with an intensity window from below {CALCIUM:g} to at least {DENSEST:g} "
                "Hounsfield units; give that window, or remove 'agatston'"
            )
        return lesions

    @field_validator("classes")
    @classmethod
    def _tell_classes_apart(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        names: set[str] = set()
        for name in classes:
            folded = unicodedata.normalize("NFKC", name).casefold()
            if not name.strip() or name != name.strip() or not name.isprintable():
                raise ValueError(f"'{name}' is not a valid class name; give printable text without spaces around it")
            if folded in RESERVED_CLASSES:
                raise ValueError(f"'{name}' is reserved for another use in records; choose another name for the class")
            if folded in names:
                raise ValueError(f"'{name}' appears twice; give each class a name of its own")
            names.add(folded)
        return classes


_RULE = re.compile(r"^(rule|checkpoint|use rule|localrules|ruleorder|include|module|if|for|def)\b", re.MULTILINE)


def read_specification(path: Path) -> DatasetSpecification:
    """Parse the literal ``SPECIFICATION`` at the head of a dataset file, without executing it.

    Raises:
        InputError: the literal is missing or invalid, or a key is unknown, missing or of the wrong type.
    """
    text = read_text(path, _MAX_BYTES, "see docs/add-a-dataset.md")
    try:
        rule = _RULE.search(text)
        head = ast.parse(text[: rule.start()] if rule else text)
        (value,) = (
            node.value
            for node in head.body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SPECIFICATION"
        )
        literal = ast.literal_eval(value)
        refuse_expanding(literal, str(path))
        specification = DatasetSpecification.model_validate(literal)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{path}: SPECIFICATION key '{key}': {message}") from None
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError) as error:  # the last two from deep nesting
        reason = " ".join(str(error).split())[:200] or "nested too deeply"
        raise InputError(
            f"{path}: cannot read a literal 'SPECIFICATION = {{...}}' before the first rule ({reason}); "
            "see docs/add-a-dataset.md"
        ) from None
    if specification.name != path.stem:
        raise InputError(f"{path}: SPECIFICATION has name '{specification.name}'; rename the file or the dataset")
    return specification


def read_specifications(folder: Path) -> dict[str, DatasetSpecification]:
    """Specifications of all dataset files of a folder, by name."""
    return {path.stem: read_specification(path) for path in sorted(folder.glob("*.smk"))}
