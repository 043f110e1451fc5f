# ISIC-2018 Task 1: dermoscopic pictures of skin lesions; only the official training images, with the split of BCDU-Net.

SPECIFICATION = {
    "name": "isic2018",
    "title": "ISIC-2018 Task 1",
    "modality": "dermoscopy",
    "classes": ["lesion"],
    "dimensions": 2,
    "channels": 3,
    "licence": "CC BY-NC 4.0",
    "citation": "Codella et al., Skin Lesion Analysis Toward Melanoma Detection 2018, arXiv:1902.03368; "
    "Tschandl et al., The HAM10000 dataset, Scientific Data 5:180161, 2018, doi:10.1038/sdata.2018.161",
    "homepage": "https://challenge.isic-archive.com/landing/2018/",
    "sources": [
        {
            "file": "ISIC2018_Task1-2_Training_Input.zip",
            "url": "https://isic-challenge-data.s3.amazonaws.com/2018/ISIC2018_Task1-2_Training_Input.zip",
            "mirrors": ["https://isic-archive.s3.amazonaws.com/challenges/2018/ISIC2018_Task1-2_Training_Input.zip"],
            "sha256": "80f98572347a2d7a376227fa9eb2e4f7459d317cb619865b8b9910c81446675f",
            "md5": "8b5be801f37b58ccf533df2928a5906b",
        },
        {
            "file": "ISIC2018_Task1_Training_GroundTruth.zip",
            "url": "https://isic-challenge-data.s3.amazonaws.com/2018/ISIC2018_Task1_Training_GroundTruth.zip",
            "mirrors": [
                "https://isic-archive.s3.amazonaws.com/challenges/2018/ISIC2018_Task1_Training_GroundTruth.zip"
            ],
            "sha256": "99f8b2bb3c4d6af483362010715f7e7d5d122d9f6c02cac0e0d15bef77c7604c",
            "md5": "ee5e5db7771d48fa2613abc7cb5c24e2",
        },
    ],
    "megabytes": 10500,
    "reader": "paired_images",
    "reader_options": {
        "images": r"ISIC2018_Task1-2_Training_Input/(?P<id>ISIC_\d{7})\.jpg",
        "masks": r"ISIC2018_Task1_Training_GroundTruth/(?P<id>ISIC_\d{7})_segmentation\.png",
        "threshold": 127,
    },
    # The lesion and patient are unknown, so each case is its own group.
    "split": {"list": "isic2018_bcdu_sorted"},
    "id_namespace": "isic_archive",
    "expected_cases": 2594,
    # 529 of its 600 test images are among these training images: see the leakage audit.
    "ood": ["isic2017"],
}
