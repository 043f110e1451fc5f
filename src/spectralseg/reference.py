"""JSON schema and reference pages, generated from the configuration model, the dataset files and the corruptions."""

from __future__ import annotations

import json
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from spectralseg.config import Config
from spectralseg.corruptions.severities import KINDS, Kind
from spectralseg.data.specification import DatasetSpecification, read_specifications
from spectralseg.files import replacing

BEGIN, END = "<!-- generated: begin -->", "<!-- generated: end -->"


def generated_files(root: Path) -> dict[Path, str]:
    """Path and content of every generated file of the repository at ``root``."""
    specifications = read_specifications(root / "workflow" / "rules" / "datasets")
    configuration, corruptions = root / "config" / "README.md", root / "docs" / "corruptions.md"
    return {
        root / "workflow" / "schemas" / "config.schema.json": json_schema(),
        configuration: _with_body(configuration, f"{datasets_table(specifications)}\n{keys_tables()}"),
        corruptions: _with_body(corruptions, corruptions_tables()),
    }


def _with_body(page: Path, body: str) -> str:
    """A page with its generated part replaced."""
    head, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    return f"{head}{BEGIN}\n\n{body}\n{END}{rest.partition(END)[2]}"


def write(root: Path) -> list[Path]:
    """Update the generated files and return those that changed."""
    changed = {
        path: text
        for path, text in generated_files(root).items()
        if not path.is_file() or path.read_text("utf-8") != text
    }
    for path, text in changed.items():
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8")
    return list(changed)


def json_schema() -> str:
    """JSON schema of the configuration, for editors and other tools."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema(mode="validation")}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def datasets_table(specifications: Mapping[str, DatasetSpecification]) -> str:
    """Table of all datasets."""
    rows = [
        (
            f"`{dataset.name}`",
            f"[{dataset.title}]({dataset.homepage})" if dataset.homepage.startswith("http") else dataset.title,
            dataset.modality,
            ", ".join(dataset.classes),
            ", ".join(f"`{name}`" for name in dataset.ood) or "–",
            dataset.licence,
        )
        for dataset in specifications.values()
    ]
    headings = ("name", "dataset", "modality", "classes", "out-of-distribution tests", "licence")
    return f"## Datasets\n\n{_table(headings, rows)}"


def corruptions_tables() -> str:
    """Tables of corruptions and the values of their parameters, one per kind of modality."""
    return "\n".join(f"### {name}\n\n{_corruptions(kind)}" for name, kind in KINDS.items())


def _corruptions(kind: Kind) -> str:
    rows = [
        (
            f"`{name}`",
            "; ".join(f"{key} {', '.join(f'{v:g}' for v in values)}" for key, values in sweep.parameters.items()),
            sweep.source,
        )
        for name, sweep in kind.sweeps.items()
    ]
    words = f"For modalities that contain one of these words: {', '.join(sorted(kind.words))}.\n\n"
    return words + _table(("corruption", "severities 1, 2, 3, 4, 5", "source"), rows)


def keys_tables() -> str:
    """Tables of the configuration keys, one per section."""
    return "\n".join(f"## {title}\n\n{lead}\n\n{_keys(section)}" for title, lead, section in _sections())


def _sections() -> Iterable[tuple[str, str, type[BaseModel]]]:
    """Title, introduction and model of the configuration and its sections, in the order of their keys."""
    yield "Top level", "The configuration as a whole.", Config
    visited: set[type[BaseModel]] = {Config}
    queue: list[tuple[str, type[BaseModel]]] = [("", Config)]
    while queue:
        prefix, parent = queue.pop(0)
        for key, field in parent.model_fields.items():
            for section, is_mapping in _nested(field.annotation):
                if section not in visited:
                    visited.add(section)
                    path = f"{prefix}{key}.<name>" if is_mapping else f"{prefix}{key}"
                    yield f"`{path}`", (section.__doc__ or "").split("\n")[0], section
                    queue.append((f"{path}.", section))


def _nested(annotation: Any) -> Iterable[tuple[type[BaseModel], bool]]:
    """Sections in the type of a key, each with whether it is a value of a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, False
    for argument in typing.get_args(annotation):
        if isinstance(argument, type) and issubclass(argument, BaseModel):
            yield argument, True


def _keys(section: type[BaseModel]) -> str:
    properties = section.model_json_schema(mode="validation")["properties"]
    rows = []
    for key, field in section.model_fields.items():
        rows.append((f"`{key}`", _type(properties[key]), _default(field), field.description or ""))
    return _table(("key", "values", "default", "meaning"), rows)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return "all" if field.default_factory else f"`{_plain(field.default)}`"


def _plain(value: Any) -> str:
    return "see below" if isinstance(value, BaseModel) else json.dumps(value, ensure_ascii=False)


def _type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_type(option) for option in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if "$ref" in schema or schema.get("type") == "object":
        return "mapping"
    return str(schema.get("type", "any")) + _limits(schema)


def _limits(schema: dict[str, Any]) -> str:
    """Limits of a number in words; empty for other types."""
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    return "".join(f" {word} {schema[key]:,}" for key, word in words.items() if key in schema)


def _table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [headings, tuple("---" for _ in headings), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)
