# Synapse multi-organ CT (BTCV): 30 labelled abdomens, eight organs in the order of TransUNet-style tables.
SPECIFICATION = {
    "name": "synapse",
    "title": "Synapse multi-organ (BTCV)",
    "modality": "abdominal CT",
    "classes": [
        "aorta",
        "gallbladder",
        "left kidney",
        "right kidney",
        "liver",
        "pancreas",
        "spleen",
        "stomach",
    ],
    "dimensions": 3,
    "channels": 1,
    "licence": "registered access under the conditions for use of the Synapse project; do not redistribute",
    "citation": "Landman B, Xu Z, Igelsias JE, Styner M, Langerak TR, Klein A. MICCAI multi-atlas labeling beyond the cranial vault: workshop and challenge. 2015. doi:10.7303/syn3193805",
    "homepage": "https://www.synapse.org/#!Synapse:syn3193805/wiki/217789",
    "sources": [
        {
            "file": "RawData.zip",
            "url": "synapse:syn3379050",
            "md5": "e8e3fc9604eadc34c47067e2332f8ea1",
        },
    ],
    "reader": "btcv",
    # Native labels of the eight organs, in the order of the classes; the other five become background.
    "reader_options": {"organs": [8, 4, 3, 2, 6, 11, 1, 7]},
    "intensity": {"window": [-125, 275]},
    "split": {"list": "synapse_transunet", "key": "case"},
    "expected_cases": 30,
}
