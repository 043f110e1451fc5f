# Kvasir-SEG: colonoscopy frames with polyps, one hospital; the official 880/120 division.

SPECIFICATION = {
    "name": "kvasir_seg",
    "title": "Kvasir-SEG",
    "modality": "colonoscopy",
    "classes": ["polyp"],
    "dimensions": 2,
    "channels": 3,
    "licence": "research and education only; commercial use needs written permission",
    "citation": "Jha et al., Kvasir-SEG: A Segmented Polyp Dataset, MMM 2020, doi:10.1007/978-3-030-37734-2_37",
    "homepage": "https://datasets.simula.no/kvasir-seg/",
    "sources": [
        {
            "file": "kvasir-seg.zip",
            "url": "https://datasets.simula.no/downloads/kvasir-seg.zip",
            "sha256": "03b30e21d584e04facf49397a2576738fd626815771afbbf788f74a7153478f7",
        },
    ],
    "megabytes": 46,
    "reader": "paired_images",
    # Masks are JPEG: values lie near 0 and 255, not at them.
    "reader_options": {
        "images": r"images/{id}\.jpg",
        "masks": r"masks/{id}\.jpg",
        "threshold": 127,
    },
    # The video and patient are unknown, so each case is its own group.
    "split": {"list": "kvasir_seg_official"},
    "expected_cases": 1000,
    "ood": ["polypgen"],
}
