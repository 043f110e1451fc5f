"""The variables of the template of a dataset card. Text stays plain here; the template escapes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import to_hex

from spectralseg.data.audit_datasets import audit_datasets
from spectralseg.data.prepared import FILES
from spectralseg.files import sha256_of
from spectralseg.reporting.cards import charts, pictures
from spectralseg.reporting.cards.measures import Measures, intensities
from spectralseg.reporting.drawing import style
from spectralseg.reporting.drawing.images import class_colour
from spectralseg.reporting.rendering.html_table import Cell, Grid, columns

SOURCES = {"official": "official files", "phantom": "synthetic phantom", "path": "files given by the user"}
PHANTOM = (
    "Synthetic phantom: generated in the native layout of the original. "
    "Only modality, classes, licence and citation on this page are those of the real dataset."
)
MOST_VALUES = 12
_OPTIONAL = ("modality", "licence", "citation", "homepage")
_SOURCE = ("file", "url", "bytes", "sha256", "fetched")
_PUBLISHED = {True: "as published", False: "not as published", None: "no checksum is published"}
_FITS = {"resize": "resampled to the image size", "crop": "cropped or padded, without resampling"}

Terms = list[tuple[str, str]]


def content(measures: Measures) -> dict[str, Any]:
    """Template variables of a card: texts, numbers, charts, images. Call within :func:`charts.applied`."""
    data, info = measures.data, measures.data.info
    unit = "slices" if measures.volumes else "images"
    histograms, sampled = intensities(data)
    remarks = ((case, remark) for case, texts in info.get("remarks", {}).items() for remark in texts)
    return {
        "info": {**dict.fromkeys(_OPTIONAL, ""), **info},
        "source": SOURCES.get(str(info["source"]), str(info["source"])),
        "banner": PHANTOM if info["source"] == "phantom" else "",
        "subset": _subset(measures),
        "leaks": audit_datasets([data]).findings(),
        "classes": [(name, to_hex(class_colour(label))) for label, name in enumerate(data.classes, 1)],
        "colours": style.PART_COLOURS,
        "parts": measures.parts,
        "unit": unit,
        "volumes": measures.volumes,
        "examples": pictures.examples(measures),
        "rules": pictures.rules(measures),
        "facts": _facts(measures),
        "counts": _rows(measures.counts.T if measures.volumes else measures.counts.drop(columns="slices").T),
        "split": _split(info.get("split", {})),
        "balance": _balance(measures, unit),
        "balance_chart": charts.class_balance(measures.balance, measures.parts, unit),
        "size_chart": charts.size_ridges(measures.foreground_by_part, unit),
        "geometry": _geometry(measures),
        "intensity_chart": charts.intensity(histograms, info["mean"], info["std"]),
        "statistics": _statistics(measures),
        "sampled": charts.counted(sampled, unit),
        "bins": histograms.shape[1],
        "attributes": {name: _rows(table) for name, table in measures.attributes.items() if len(table) <= MOST_VALUES},
        "varied": {name: len(table) for name, table in measures.attributes.items() if len(table) > MOST_VALUES},
        "excluded": _by_phrase(info.get("excluded", {}).items()),
        "remarks": _by_phrase(remarks),
        "sources": [_source(file) for file in info.get("sources", [])],
        "files": _files(measures),
        "preparation": _preparation(measures),
    }


def _subset(measures: Measures) -> str:
    """A warning if a subset of the official cases was accepted."""
    info, cases = measures.data.info, len(measures.data.cases)
    expected = info.get("expected_cases")
    if not info.get("allow_partial") or expected == cases:
        return ""
    complete = f" of {expected:,}" if expected else ""
    return f"Possibly incomplete: a subset of the official cases was accepted; the dataset has {cases:,}{complete}."


def _facts(measures: Measures) -> Terms:
    """Key figures: numbers, and what they count."""
    info, totals = measures.data.info, measures.counts.sum()
    channels = {1: "channel, grey", 3: "channels, colour"}
    cases, empty = "volumes" if measures.volumes else "images", len(measures.empty_cases)
    return [
        (f"{totals['cases']:,}", cases),
        (f"{totals['groups']:,}", "patients or groups" if measures.grouped else "groups: each case its own"),
        *([(f"{totals['slices']:,}", "slices")] if measures.volumes else []),
        (charts.percent(float(measures.foreground.mean())), "foreground pixels"),
        *([(f"{empty:,}", f"{cases} without foreground")] if empty else []),
        (f"{info['image_size']} × {info['image_size']}", "pixels, prepared"),
        (str(info["channels"]), channels.get(info["channels"], "channels")),
    ]


def _rows(table: pd.DataFrame) -> list[tuple[str, dict[str, int]]]:
    """A table of counts as labels and counts by part."""
    return [(str(label), {str(part): int(n) for part, n in row.items()}) for label, row in table.iterrows()]


def _split(rule: Mapping[str, Any]) -> Terms:
    """The split rule as text, with provenance and checksum."""
    texts = {
        "list": f"list {rule.get('list')}, by {rule.get('key', 'case')}",
        "attribute": f"by attribute {rule.get('attribute')}: test where it is {', '.join(rule.get('test', ()))}",
        "random": f"{charts.percent(rule.get('random', 0))} of the groups are the test part, in an order fixed by name",
        "everything": "the whole dataset is the test part",
    }
    terms = [("Rule", text) for key, text in texts.items() if rule.get(key) is not None]
    if rule.get("validation"):
        terms += [("Validation", f"where {rule.get('attribute')} is {', '.join(rule['validation'])}")]
    names = {"provenance": "Provenance", "sha256": "SHA-256 of the list"}
    return terms + [(name, str(rule[key])) for key, name in names.items() if rule.get(key)]


def _balance(measures: Measures, unit: str) -> Grid:
    """Share of pixels and frequency of each class in each part."""
    shares = {"pixels": "of pixels", "slices": f"in {unit}", **({"cases": "in volumes"} if measures.volumes else {})}
    rows = [
        [
            Cell(str(name), colour=to_hex(class_colour(label))),
            *(Cell(charts.percent(share)) for share in rows[list(shares)].to_numpy().ravel()),
        ]
        for label, (name, rows) in enumerate(measures.balance.groupby("class", sort=False), 1)
    ]
    groups = ("", *(part for part in measures.parts for _ in shares)) if len(measures.parts) > 1 else ()
    headings = columns(("class",), [*shares.values()] * len(measures.parts))
    return Grid("balance", "Share of pixels, and share of images with the class", headings, rows, groups=groups)


def _statistics(measures: Measures) -> Grid:
    info = measures.data.info
    part = "training part" if "train" in measures.parts else "dataset"
    rows = [
        [Cell(channel), Cell(f"{mean:.4f}"), Cell(f"{std:.4f}")]
        for (channel, _), mean, std in zip(charts.channels(info["channels"]), info["mean"], info["std"], strict=True)
    ]
    headings = columns(("channel",), ("mean", "standard deviation"))
    return Grid("statistics", f"Over every pixel of the {part}, intensities scaled to 0 to 1", headings, rows)


def _geometry(measures: Measures) -> dict[str, list[Any]]:
    """Native sizes and spacing: a chart of each quantity that varies, a sentence on each that does not."""
    table, parts = measures.geometry, measures.data.cases["part"].to_numpy()
    sentences, plots = [], []
    if len(table[["width", "height"]].drop_duplicates()) > 1:
        sizes = charts.native_sizes(table["width"].to_numpy(), table["height"].to_numpy(), parts)
        plots += [("Width and height", sizes)]
    else:
        sentences += [f"Every case is {table['width'][0]:.0f} × {table['height'][0]:.0f} pixels (width × height)."]
    if (table["row"].isna() | (table["row"] == table["column"])).all():
        table = table.drop(columns="column").rename(columns={"row": "in-plane"})
    labels = {
        "depth": ("Slices of a volume", "slices", "slices"),
        "in-plane": ("Spacing in the plane", "mm per pixel", "mm"),
        "row": ("Spacing of rows", "mm", "mm"),
        "column": ("Spacing of columns", "mm", "mm"),
        "slice": ("Spacing of slices", "mm", "mm"),
    }
    for column, (title, axis, unit) in labels.items():
        values = table[column].to_numpy() if column in table else np.array([])
        different = np.unique(values[~np.isnan(values)])
        if len(different) > 1:
            plots += [(title, charts.histogram(values, parts, title, axis))]
        elif len(different) == 1:
            which = " that records it" if np.isnan(values).any() else ""
            sentences += [f"{title}: {different[0]:.4g} {unit} in every case{which}."]
    recorded = int(measures.geometry["row"].notna().sum())
    if not recorded:
        sentences += ["The files record no spacing, so distances are in pixels."]
    elif recorded < len(table):
        sentences += [f"Spacing is recorded for {recorded:,} of {len(table):,} cases."]
    return {"sentences": sentences, "charts": plots}


def _by_phrase(remarks: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Phrases with their cases, the most frequent phrase first."""
    cases: dict[str, list[str]] = {}
    for case, phrase in remarks:
        cases.setdefault(phrase, []).append(case)
    return sorted(cases.items(), key=lambda entry: (-len(entry[1]), entry[0]))


def _preparation(measures: Measures) -> Terms:
    """Recorded settings of the preparation."""
    data, info = measures.data, measures.data.info
    terms = [("Image size", f"{info['image_size']} × {info['image_size']} pixels, stored as {data.images.dtype}")]
    terms += [("Fit", _FITS[data.fit])]
    if "intensity" in info:
        terms += [("Intensity", _intensity(info["intensity"]))]
    if "reduced_decoding" in info:
        terms += [("Decoding", "large JPEG images at reduced size" if info["reduced_decoding"] else "at full size")]
    terms += [("Versions", ", ".join(f"{name} {version}" for name, version in info.get("versions", {}).items()))]
    terms += [("Format", f"version {info['format']} of the prepared dataset")]
    return [(term, text) for term, text in terms if text]


def _source(file: Mapping[str, Any]) -> dict[str, Any]:
    """A source archive with every key that the template needs."""
    remark = _PUBLISHED[file["published_checksum"]] if "published_checksum" in file else ""
    return {**dict.fromkeys(_SOURCE, ""), **file, "remark": remark}


def _files(measures: Measures) -> Grid:
    """Name, bytes and checksum of each prepared file; dataset.json records the checksums of the others."""
    path, recorded = measures.data.path, measures.data.info["files"]
    rows = [
        [
            Cell(name),
            Cell(f"{(path / name).stat().st_size:,}"),
            Cell(recorded.get(name) or sha256_of(path / name), kind="checksum"),
        ]
        for name in FILES
    ]
    return Grid("files", "Prepared files", columns(("file",), ("bytes",), ("SHA-256",)), rows)


def _intensity(rule: Mapping[str, Any] | None) -> str:
    if rule is None:
        return "8-bit values divided by 255"
    kind, (low, high) = next(iter(rule.items()))
    limits = {
        "window": f"{low:g} to {high:g}",
        "percentiles": f"its own {low:g} and {high:g} % percentiles",
        "nonzero_percentiles": f"the {low:g} and {high:g} % percentiles of its nonzero values",
    }
    return f"each case clipped to {limits[kind]}, then scaled to 0 to 1"
