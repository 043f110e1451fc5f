"""The page of findings, written from the extracted CSV files alone: every number on it is computed from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from spectralseg.files import replacing
from spectralseg.reporting.findings import plots
from spectralseg.reporting.findings.numbers import Numbers
from spectralseg.reporting.findings.sections.conclusions import claims_section, limits_section, power_section
from spectralseg.reporting.findings.sections.cost import cost_section
from spectralseg.reporting.findings.sections.effects import control_section, effects_section, sweep_section
from spectralseg.reporting.findings.sections.properties import calibration_section, maps_section, noise_section
from spectralseg.reporting.findings.sections.setup import data_section, protocol_section, tuning_section
from spectralseg.reporting.findings.sections.summary import head_section


def write_page(folder: Path, page: Path) -> None:
    """Draw the plots into the folder of the extracted numbers, and write the page that shows them.

    Args:
        folder: of :func:`~spectralseg.reporting.findings.extract.extract`; the hand-written files ``data.md`` and
            ``obstacles.md`` in it join the sections on data and cost.
        page: the Markdown file; links to the folder are relative to it.

    Raises:
        InputError: a file is missing or damaged.
    """
    numbers = Numbers(folder)
    plots.draw(numbers, folder)
    with replacing(page) as partial:
        partial.write_text(page_text(numbers, folder.name), encoding="utf-8")


def page_text(numbers: Numbers, link: str) -> str:
    """The page as Markdown; ``link`` is the relative address of the folder of numbers."""
    sections: dict[str, Callable[[Numbers, str], Iterable[str]]] = {
        "": head_section,
        "Protocol": protocol_section,
        "Data": data_section,
        "Learning rate and iterations": tuning_section,
        "Effects": effects_section,
        "Is it more than a Dice?": control_section,
        "λ and the sign": sweep_section,
        "Calibration": calibration_section,
        "Noise": noise_section,
        "Activation maps and spectra": maps_section,
        "Claims of papers": claims_section,
        "Statistical power": power_section,
        "Limits": limits_section,
        "Cost, versions and files": cost_section,
    }
    parts = ["# Does the objective help?"]
    for heading, section in sections.items():
        if paragraphs := [paragraph for paragraph in section(numbers, link) if paragraph]:
            parts += [*([f"## {heading}"] if heading else []), *paragraphs]
    return "\n\n".join(parts) + "\n"
