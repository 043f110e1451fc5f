# MoNuSeg 2018 nuclei: the classic 30 training tiles and the 14 test tiles of the challenge.
SPECIFICATION = {
    "name": "monuseg",
    "title": "MoNuSeg 2018",
    "modality": "H&E histopathology",
    "classes": ["nucleus"],
    "dimensions": 2,
    "channels": 3,
    "licence": "CC BY-NC-SA 4.0",
    "citation": "Kumar N, et al. A multi-organ nucleus segmentation challenge. IEEE Trans Med Imaging 39(5):1380-1391, 2020. doi:10.1109/TMI.2019.2947628",
    "homepage": "https://monuseg.grand-challenge.org/Data/",
    "sources": [
        {
            "file": "MoNuSeg 2018 Training Data.zip",
            "url": "gdrive:1ZgqFJomqQGNnsx7w7QBzQQMVA16lbVCA",
            "sha256": "25d3d3185bb2970b397cafa72eb664c9b4d24294aee382e7e3df9885affce742",
        },
        {
            "file": "MoNuSegTestData.zip",
            "url": "gdrive:1NKkSQ5T0ZNQ8aUhh0a8Dt2YKYCQXIViw",
            "sha256": "13e522387ae8b1bcc0530e13ff9c7b4d91ec74959ef6f6e57747368d7ee6f88a",
        },
    ],
    "reader": "monuseg",
    "split": {"list": "monuseg_official", "key": "case"},
    # The training archive grew to 37 tiles; published results use the first 30.
    "exclude": {
        "TCGA-BC-A217-01Z-00-DX1": "added to the archive later; not among the 30 training tiles",
        "TCGA-F9-A8NY-01Z-00-DX1": "added to the archive later; not among the 30 training tiles",
        "TCGA-FG-A87N-01Z-00-DX1": "added to the archive later; not among the 30 training tiles",
        "TCGA-MH-A561-01Z-00-DX1": "added to the archive later; not among the 30 training tiles",
        "TCGA-UZ-A9PJ-01Z-00-DX1": "added to the archive later; not among the 30 training tiles",
        "TCGA-UZ-A9PN-01Z-00-DX1": "added to the archive later; not among the 30 training tiles",
        "TCGA-XS-A8TJ-01Z-00-DX1": "added to the archive later; not among the 30 training tiles",
    },
    "expected_cases": 44,
}
