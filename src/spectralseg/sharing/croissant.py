"""Croissant metadata of a bundle, with which its records can be deposited and found.

JSON-LD by version 1.0 of the format of MLCommons: files with checksums, and the columns of their tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from spectralseg import __version__
from spectralseg.sharing.manifest import File, Manifest

NAME = "croissant.json"
CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
TABLES = {
    "records.parquet": "Metric records: one value of one metric on one case of one run, in long format.",
    "comparisons.parquet": "Paired differences of the methods to the baseline, with 95 % intervals.",
}
COLUMNS = {
    "dataset": "dataset that the model was trained on",
    "architecture": "name of the architecture in the configuration",
    "objective": "name of the objective in the configuration",
    "lambda": "weight of the auxiliary term, 0 without one",
    "seed": "seed of the run",
    "suite": "iid, ood or noise",
    "test_dataset": "dataset that the case belongs to",
    "corruption": "none, or the name of the corruption",
    "severity": "parameter of the corruption, 0 without one",
    "case": "id of the case, or pooled for metrics of the test set as a whole",
    "group": "id of the patient or other group of the case",
    "class": "foreground class, all for the foreground as a whole, or mean for the mean over classes",
    "protocol": "published or sound",
    "metric": "name of the metric",
    "value": "value of the metric, NaN where undefined",
    "flag": "reason why the value is undefined or was set by the policy for missing structures",
}
_KINDS = (
    (pa.types.is_boolean, "sc:Boolean"),
    (pa.types.is_integer, "sc:Integer"),
    (pa.types.is_floating, "sc:Float"),
)
_FORMATS = {
    **{".parquet": "application/x-parquet", ".json": "application/json", ".jsonl": "application/jsonlines"},
    **{".csv": "text/csv", ".html": "text/html", ".md": "text/markdown", ".tex": "text/x-tex"},
    **{".yaml": "application/yaml", ".png": "image/png", ".pdf": "application/pdf"},
}
# Terms of Croissant 1.0 that a document declares.
_TERMS = (
    *("citeAs", "column", "equivalentProperty", "extract", "field", "fileProperty", "fileObject", "fileSet", "format"),
    *("includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex"),
    *("repeated", "replace", "samplingRate", "separator", "source", "subField", "transform"),
)
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    **{term: f"cr:{term}" for term in _TERMS},
}


@dataclass(frozen=True)
class Deposit:
    """What only the user knows about a deposit; empty if unknown.

    Attributes:
        licence: of the records, a URL or an SPDX identifier; without one, the licences of the datasets are named.
        url: address of the deposit.
        date: date of publication, ``YYYY-MM-DD``.
    """

    licence: str = ""
    url: str = ""
    date: str = ""

    @property
    def missing(self) -> list[str]:
        """Properties that the format requires and that were not given."""
        names = {"license": self.licence, "url": self.url, "datePublished": self.date}
        return [name for name, value in names.items() if not value]


UNKNOWN = Deposit()


def croissant(folder: Path, manifest: Manifest, deposit: Deposit) -> dict[str, Any]:
    """The metadata of a bundle as JSON values.

    Args:
        folder: folder of its files, of which the schemas of :data:`TABLES` are read.
        manifest: its manifest.
        deposit: what the user knows about the deposit.
    """
    licences = sorted({dataset.licence for dataset in manifest.datasets.values() if dataset.licence})
    given = {"url": deposit.url, "datePublished": deposit.date}
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": f"{manifest.laboratory}-{manifest.study}",
        "description": _description(manifest),
        "license": deposit.licence or [f"licence of the images: {text}" for text in licences] or "unknown",
        "creator": {"@type": "sc:Organization", "name": manifest.laboratory},
        "citeAs": _citation(manifest),
        "version": __version__,
        "isLiveDataset": False,
        **{name: value for name, value in given.items() if value},
        "distribution": [_file(name, file) for name, file in sorted(manifest.files.items())],
        "recordSet": [
            _record_set(name, text, parquet.read_schema(folder / name))
            for name, text in TABLES.items()
            if name in manifest.files
        ],
    }


def _description(manifest: Manifest) -> str:
    titles = ", ".join(sorted(dataset.title for dataset in manifest.datasets.values()))
    return (
        f"Segmentation metrics of {manifest.runs.recorded} of {manifest.runs.planned} runs of the study "
        f"'{manifest.study}' with SpectralSeg {manifest.version}, on {titles or 'no dataset'}. Without images and "
        "weights."
    )


def _citation(manifest: Manifest) -> str:
    texts = sorted({dataset.citation for dataset in manifest.datasets.values() if dataset.citation})
    return " ".join([f"{manifest.laboratory}, study '{manifest.study}', SpectralSeg {manifest.version}.", *texts])


def _file(name: str, file: File) -> Mapping[str, str]:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{file.bytes} B",
        "encodingFormat": _FORMATS.get(Path(name).suffix, "application/octet-stream"),
        "sha256": file.sha256,
    }


def _record_set(file: str, description: str, schema: pa.Schema) -> dict[str, Any]:
    name = Path(file).stem
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": description,
        "field": list(_fields(name, file, schema)),
    }


def _fields(name: str, file: str, schema: pa.Schema) -> Iterable[dict[str, Any]]:
    for column in schema:
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        text = COLUMNS.get(column.name)
        yield {
            "@type": "cr:Field",
            "@id": f"{name}/{column.name}",
            "name": column.name,
            **({"description": text} if text else {}),
            "dataType": next((label for is_kind, label in _KINDS if is_kind(kind)), "sc:Text"),
            "source": {"fileObject": {"@id": file}, "extract": {"column": column.name}},
        }
