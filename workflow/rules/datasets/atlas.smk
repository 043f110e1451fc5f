# ATLAS stroke lesions on T1-weighted MR. Access by form and per-person key, so that there are no sources to download:
# decrypt the archive and set 'source: path', see docs/get-the-data.md. Reads release 2.0 (655 labelled scans) and 3.0
# (1453, raw or preprocessed); as both are complete datasets, no number of cases is expected.
SPECIFICATION = {
    "name": "atlas",
    "title": "ATLAS (stroke lesions)",
    "modality": "T1-weighted brain MR",
    "classes": ["stroke lesion"],
    "dimensions": 3,
    "channels": 1,
    "licence": "access by form under the terms of use of INDI; do not redistribute",
    "citation": "Liew S-L, et al. A large, curated, open-source stroke neuroimaging dataset to improve lesion segmentation algorithms. Sci Data 9:320, 2022. doi:10.1038/s41597-022-01401-7",
    "homepage": "https://fcon_1000.projects.nitrc.org/indi/retro/atlas.html",
    "reader": "atlas",
    "intensity": {"nonzero_percentiles": [0.5, 99.5]},
    # Small lesions keep their pixels. Of 233 x 197 pixels, 224 x 197 are kept at image_size 224.
    "fit": "crop",
    "lesions": {"connectivity": 26},
    "split": {
        "random": 0.2,
        "provenance": "random fifth of the subjects: no split of the labelled scans is published",
    },
    "alternative_splits": {
        # Cohorts whose number is divisible by five; those that a release lacks do not matter.
        "leave_sites_out": {
            "attribute": "site",
            "test": ["R005", "R010", "R015", "R020", "R025", "R030", "R035", "R040", "R045", "R050"],
            "provenance": "no split by site is published; cohorts whose number is divisible by five",
        },
    },
}
