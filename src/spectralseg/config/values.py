"""Types of values that several sections of the configuration share."""

from __future__ import annotations

import os
import re
import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

QUOTED_NUMBER = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]*[1-9])?")
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # encoder and weight names become path components
LARGEST_SEED = 2**63 - 1  # records store seeds as 64-bit integers
_LARGEST_QUOTED, _LONGEST_QUOTED = 1e6, 16


class Section(BaseModel):
    """A section of the configuration: unknown keys, conversions of types and infinite numbers are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _quoted_number(value: Any) -> Any:
    """Accept a number that becomes part of a path only as a string with one spelling: YAML reads 1e-3 as text."""
    if not isinstance(value, str) or not QUOTED_NUMBER.fullmatch(value):
        raise ValueError('must be a quoted decimal without trailing zeros such as "0.2"')
    if len(value) > _LONGEST_QUOTED or float(value) > _LARGEST_QUOTED:
        raise ValueError(f"must be at most {_LARGEST_QUOTED:,.0f} and have at most {_LONGEST_QUOTED} characters")
    return value


def _unique(values: list[str]) -> list[str]:
    """Reject duplicates: each would be recorded twice."""
    if duplicates := [value for value in values if values.count(value) > 1]:
        raise ValueError(f"'{duplicates[0]}' is listed twice; keep one")
    return values


def _path(value: str) -> str:
    """Expand ``~``; braces would be wildcards of the workflow, and a leading ``-`` an option of a command."""
    if not value.strip():
        raise ValueError("must not be empty")
    if any(c in "{}" or unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in value) or value.startswith("-"):
        raise ValueError("must not contain braces or control characters, nor start with '-'; rename the file or folder")
    expanded = os.path.expanduser(value)
    if expanded.startswith("~"):
        raise ValueError("starts with '~' but names no home folder on this machine; give the full path")
    return expanded


def _without_removed(value: Any) -> Any:
    """Leave out entries that are ``False``: files of a configuration are merged, and a later one cannot delete keys."""
    if not isinstance(value, dict):
        return value
    return {name: entry for name, entry in value.items() if entry is not False}


QuotedNumber = Annotated[str, BeforeValidator(_quoted_number, json_schema_input_type=str)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
ModelName = Annotated[str, Field(pattern=r"^([a-z][a-z0-9_]*|monai:[A-Za-z0-9]+)$", max_length=64)]
Unique = AfterValidator(_unique)
Removable = BeforeValidator(_without_removed)
PathText = Annotated[str, AfterValidator(_path)]
ImageSize = Annotated[int, Field(ge=32, le=4096, multiple_of=32)]
