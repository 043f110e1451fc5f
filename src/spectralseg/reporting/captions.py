"""Titles and captions of tables, figures and studies, for both reports."""

from __future__ import annotations

from typing import NamedTuple

_OTHER = "Made by its own notebook."


class Caption(NamedTuple):
    """What a table or figure shows, in a few words, and how to read it. ``paper`` says whether the paper has it too."""

    title: str
    text: str
    paper: bool = False


TABLES = {
    "table_1": Caption(
        "Segmentation of polyps, skin lesions, nuclei and brain tumours",
        "Dice, IoU, sensitivity and specificity on Kvasir-SEG, ISIC-18, MoNuSeg and BTSeg: the paper's Table 1, each "
        "published number beside the measured one, under both metric protocols. The CSV has one row per cell, with the"
        " number of cases, seeds, undefined values and missing runs.",
        True,
    ),
    "table_2": Caption(
        "Segmentation of abdominal organs and the heart",
        "Dice and Hausdorff distance per class on Synapse and ACDC: the paper's Table 2, each published number beside "
        "the measured one, under both metric protocols. The protocols differ most where a structure is missed or "
        "invented.",
        True,
    ),
    "table_3": Caption(
        "Out of distribution",
        "Out-of-distribution results, trained on ISIC-18 and Kvasir-SEG, tested on ISIC-17 and PolypGen: the paper's "
        "Table 3, each published number beside two measured ones, over all test cases and over those that match no "
        "training or validation data, under both metric protocols.",
        True,
    ),
    "table_4": Caption(
        "Calibration",
        "Expected and maximum calibration error in and out of distribution: the paper's Table 4, each published number"
        " beside the measured one, out of distribution also over the test cases that match no training or validation "
        "data. The two protocols use different definitions and must not be compared with each other.",
        True,
    ),
    "table_5": Caption(
        "Noisy images",
        "Dice and Hausdorff distance on noisy test images of Synapse and ACDC: the paper's Table 5, each published "
        "number beside the measured one, under both metric protocols. Every model sees the same noise.",
        True,
    ),
    "table_6": Caption(
        "Weight of the spectral term",
        "UNet with different weights λ of the spectral term on ACDC and Kvasir-SEG: the paper's Table 6, each "
        "published number beside the measured one, under both metric protocols.",
        True,
    ),
    "summary": Caption(
        "All runs of this study",
        "All runs of this study on their own test sets and on their out-of-distribution partners, mean over foreground"
        " classes.",
    ),
    "overall": Caption(
        "All datasets together",
        "Each objective against the baseline over the test sets of all datasets: mean difference, how often a run "
        "beats one of the baseline, and what the Bayesian signed-rank test believes of another dataset.",
    ),
    "metrics": Caption(
        "Surfaces, calibration, activation maps and spectra",
        "All runs of this study in the metrics that the paper does not have, mean over foreground classes: surface "
        "Dice and distance, boundary IoU, further calibration errors, scores of class activation maps beside those of "
        "random maps, and spectra.",
    ),
    "robustness": Caption(
        "What corruptions cost",
        "Share of the clean Dice that each corruption costs, with the difference to the baseline and its 95 % interval"
        " over seeds and patients, and the mean corruption error.",
    ),
    "leakage": Caption(
        "Test cases that training data show as well",
        "Test cases that a training dataset shows as well: same id, same bytes, near-duplicate by perceptual hash, "
        "same patient or family; and how many test cases are left without a match. Above it, validation cases that "
        "match training cases, and repeats within training data. The CSV has one row for each compared pair of "
        "datasets.",
    ),
    "leakage_effect": Caption(
        "Dice with and without leaking test cases",
        "Dice out of distribution over all test cases and over ever fewer of them: without those that match training "
        "data, validation data, and the test data of the training dataset.",
    ),
}
FIGURES = {
    "figure_2": Caption(
        "Spectra of images and of their masks",
        "Spectrum of an image beside the spectrum of its mask, per dataset, and the share of power below each "
        "frequency over many test slices (the paper's Figure 2). Dots mark 90 % of the power.",
        True,
    ),
    "figure_3": Caption(
        "What a shifted, scaled or deformed mask does to its spectrum",
        "How much a mask, its complex spectrum and its amplitude spectrum change when the mask is shifted, scaled or "
        "deformed (the paper's Figure 3). The complex spectrum changes exactly as much as the mask.",
        True,
    ),
    "figure_5": Caption(
        "Outlines of polyps and skin lesions",
        "Actual and predicted outlines of polyps and skin lesions, in and out of distribution (the paper's Figure 5). "
        "Cases follow from foreground area alone; their ids are in the footer.",
        True,
    ),
    "figure_6": Caption(
        "Outlines of nuclei and brain tumours",
        "Actual and predicted outlines of nuclei and brain tumours (the paper's Figure 6). Cases follow from "
        "foreground area alone; their ids are in the footer.",
        True,
    ),
    "figure_7": Caption(
        "Label maps of the heart and of abdominal organs",
        "Label maps on ACDC and Synapse (the paper's Figure 7). A white box bounds the largest connected region of "
        "wrong labels. Cases follow from foreground area alone; their ids are in the footer.",
        True,
    ),
    "figure_8": Caption(
        "Spectra of references and predictions",
        "Log-magnitude spectra of references and predictions on Synapse and ACDC (the paper's Figure 8), with the "
        "correlation of the two and the correlation that is left after removing the decay with frequency that any two "
        "masks share.",
        True,
    ),
    "figure_9": Caption(
        "Class activation maps",
        "Class activation maps of every method (the paper's Figure 9), one colour scale per row. Percentages: share of"
        " the activation inside the actual region.",
        True,
    ),
    "leakage_matrix": Caption(
        "Which test sets a training dataset shows",
        "Share of each test set that a training dataset shows as well, for every pair of datasets that can be "
        "compared, and test images beside their matches.",
    ),
    "corruptions": Caption(
        "Corruptions by severity",
        "Test images of one dataset per kind of modality, clean and under three of its corruptions at severities 1, 3 "
        "and 5.",
    ),
    "forest": Caption(
        "All effects of the study",
        "Difference of every objective to the baseline in Dice and Hausdorff distance, per dataset, architecture and "
        "λ, with 95 % intervals over seeds and cases (paired; with one seed over cases only), the number of seeds and"
        " cases, and the band within which a difference does not matter. What does not fit on a page is left out by a"
        " stated rule and counted.",
    ),
    "severity": Caption(
        "Corrupted images by severity",
        "Dice against the severity of each corruption, one line per method, clean images at the left end, with 95 % "
        "intervals over seeds and cases. Where a corruption was run at a single severity, the figure says so.",
    ),
    "reliability": Caption(
        "Reliability of probabilities",
        "Reliability diagrams per pair of datasets and method, of the whole image and near boundaries, over all "
        "seeds, with the expected calibration error and a histogram of predicted probabilities below.",
    ),
    "lambda_curves": Caption(
        "The weight λ under every reading of the sign",
        "Dice, IoU and Hausdorff distance against the weight λ, one line for each reading of the sign that was run, "
        "single seeds as points, the baseline as a line, the paper's Table 6 as crosses. Bars are 95 % intervals of "
        "the paired difference to the baseline, set upon its line.",
    ),
    "frequency": Caption(
        "Frequencies of predictions",
        "Power of predictions over that of the reference by frequency, and Fourier ring correlation of the two, of "
        "the example cases; below, the correlation in three bands over all test cases with 95 % intervals over seeds "
        "and cases.",
    ),
    "scatter": Caption(
        "Case by case against the baseline",
        "Dice of each test case with the method against that with the baseline, and the two cases that lose most with"
        " reference and stored predictions. The footer gives the rule and the number of seeds and cases.",
    ),
    "leak_free": Caption(
        "Dice with and without leaking test cases",
        "Dice over all test cases and over ever fewer of them: without those that match training data, validation "
        "data, and the test data of the training dataset; with 95 % intervals over seeds and cases and the number of "
        "cases that are left.",
    ),
    "cost": Caption(
        "Accuracy against cost",
        "Dice against training time and peak memory per dataset and method, with 95 % intervals over seeds and cases;"
        " the legend gives the number of parameters, the footer the machine.",
    ),
}
STUDIES = {
    "study_equation_2": Caption(
        "What Eq. (2) is",
        "What is Eq. (2)? Its value on stored predictions beside Dice coefficients, how its weight is spread over "
        "frequencies, and runs with the spectral term tested for equivalence with runs that have a Dice in its place.",
    ),
    "study_sign": Caption(
        "Which reading of the sign draws Table 6",
        "Which reading of the sign draws the paper's Table 6? Results against the weight λ for each form of the "
        "objective beside the printed ones, and what the largest λ does under each.",
    ),
    "study_mid_band": Caption(
        "Whether a true mid-band term helps",
        "Does a true mid-band term help? Objectives that see a band of frequencies against the baseline, the full "
        "band and random annuli of equal size, in and out of distribution.",
    ),
    "study_leakage": Caption(
        "What leakage does to the claim about other data",
        "What does leakage do to the claim about other data? Dice and gains over the baseline on all test cases and "
        "on those that training data do not show.",
    ),
    "study_protocols": Caption(
        "How protocol choices move every table",
        "How do protocol choices move every table? Results under both metric protocols and four averagings of the "
        "same predictions, beside the gains that are claimed, and whether methods rank the same.",
    ),
}


def caption(name: str) -> Caption:
    """Caption of a table, figure or study; of one that this package does not know, where it comes from."""
    return (TABLES | FIGURES | STUDIES).get(name) or Caption("", _OTHER)


def label(name: str) -> str:
    """Name of a table or figure as one writes it: ``table_1`` is Table 1."""
    return name.replace("_", " ").capitalize()
