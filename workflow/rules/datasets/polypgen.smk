# PolypGen, version 3: colonoscopy frames of six centres, used for testing models trained on other polyps.

SPECIFICATION = {
    "name": "polypgen",
    "title": "PolypGen (single frames)",
    "modality": "colonoscopy",
    "classes": ["polyp"],
    "dimensions": 2,
    "channels": 3,
    "licence": "CC BY 4.0, with the conditions for use on Synapse",
    "citation": "Ali et al., A multi-centre polyp detection and segmentation dataset for generalisability assessment, "
    "Scientific Data 10:75, 2023, doi:10.1038/s41597-023-01981-y",
    "homepage": "https://doi.org/10.7303/syn26376615",
    "sources": [
        # No checksum is published. The entity is the folder with this archive and the older version 2.
        {"file": "PolypGen2021_MultiCenterData_v3.zip", "url": "synapse:syn45200214"},
    ],
    "reader": "paired_images",
    "reader_options": {
        # Folders of single frames only: sequenceData and imagesAll_positive contain video frames. The optional underscore
        # is for C3_EndoCV2021_00489_.jpg, whose mask lacks it; without it the set silently has 1536 frames.
        "images": r"data_(?P<centre>C[1-6])/images_C\d/{id}_?\.jpg",
        "masks": r"data_(?P<centre>C[1-6])/masks_C\d/{id}_mask\.jpg",
        # Masks are JPEG, some grey and some RGB.
        "threshold": 127,
    },
    # Frames without a polyp are part of the 1537.
    "split": {"everything": "test"},
    "expected_cases": 1537,
}
