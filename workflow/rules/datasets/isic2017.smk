# ISIC-2017 Part 1: the official test images, used for testing models trained on ISIC-2018.

SPECIFICATION = {
    "name": "isic2017",
    "title": "ISIC-2017 Part 1 (official test images)",
    "modality": "dermoscopy",
    "classes": ["lesion"],
    "dimensions": 2,
    "channels": 3,
    "licence": "CC0 1.0",
    "citation": "Codella et al., Skin lesion analysis toward melanoma detection: A challenge at ISBI 2017, ISBI 2018, "
    "doi:10.1109/ISBI.2018.8363547",
    "homepage": "https://challenge.isic-archive.com/landing/2017/",
    "sources": [
        {
            "file": "ISIC-2017_Test_v2_Data.zip",
            "url": "https://isic-challenge-data.s3.amazonaws.com/2017/ISIC-2017_Test_v2_Data.zip",
            "mirrors": ["https://isic-archive.s3.amazonaws.com/challenges/2017/ISIC-2017_Test_v2_Data.zip"],
            "md5": "5f6a0b5e1f2972bd1f5ea02680489f09",
        },
        {
            "file": "ISIC-2017_Test_v2_Part1_GroundTruth.zip",
            "url": "https://isic-challenge-data.s3.amazonaws.com/2017/ISIC-2017_Test_v2_Part1_GroundTruth.zip",
            "mirrors": [
                "https://isic-archive.s3.amazonaws.com/challenges/2017/ISIC-2017_Test_v2_Part1_GroundTruth.zip"
            ],
            "md5": "b1742de6bd257faca3b2b21a4aa3b781",
        },
    ],
    "megabytes": 6000,
    "reader": "paired_images",
    "reader_options": {
        # The archive contains a <id>_superpixels.png beside every image.
        "images": r"ISIC-2017_Test_v2_Data/(?P<id>ISIC_\d{7})\.jpg",
        "masks": r"ISIC-2017_Test_v2_Part1_GroundTruth/(?P<id>ISIC_\d{7})_segmentation\.png",
        "threshold": 127,
    },
    "split": {"list": "isic2017_official_test"},
    "id_namespace": "isic_archive",
    "expected_cases": 600,
}
