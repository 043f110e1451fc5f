# orCaScore cardiac CT: 32 labelled patients of four vendors. The files are given to registered teams only: source 'path'.
SPECIFICATION = {
    "name": "orcascore",
    "title": "orCaScore",
    "modality": "non-contrast cardiac CT",
    "classes": ["coronary calcification"],
    "dimensions": 3,
    "channels": 1,
    "licence": "registered access under the rules of the challenge; do not redistribute",
    "citation": "Wolterink JM, et al. An evaluation of automatic coronary artery calcium scoring methods with cardiac CT using the orCaScore framework. Med Phys 43(5):2361-2373, 2016. doi:10.1118/1.4945696",
    "homepage": "https://orcascore.grand-challenge.org/",
    "reader": "orcascore",
    "intensity": {"window": [-200, 1000]},
    # Lesions of a few pixels would vanish if slices were resampled.
    "fit": "crop",
    "lesions": {"connectivity": 6, "agatston": True},
    # Only 32 patients have labels: four folds by patient number, each with all four vendors.
    "split": {
        "attribute": "patient",
        "test": ["7", "8"],
        "validation": ["6"],
        "provenance": "SpectralSeg; no split of the labelled patients is published",
    },
    "alternative_splits": {
        "fold1": {"attribute": "patient", "test": ["1", "2"], "validation": ["8"]},
        "fold2": {"attribute": "patient", "test": ["3", "4"], "validation": ["2"]},
        "fold3": {"attribute": "patient", "test": ["5", "6"], "validation": ["4"]},
        "vendor1": {"attribute": "vendor", "test": ["1"]},
        "vendor2": {"attribute": "vendor", "test": ["2"]},
        "vendor3": {"attribute": "vendor", "test": ["3"]},
        "vendor4": {"attribute": "vendor", "test": ["4"]},
    },
    "expected_cases": 32,
}
