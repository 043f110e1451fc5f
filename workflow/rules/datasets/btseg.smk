# BTSeg: the brain tumour slices of Cheng et al. (figshare), tested on the last of their five published folds.
SPECIFICATION = {
    "name": "btseg",
    "title": "BTSeg (Cheng brain tumours)",
    "modality": "contrast-enhanced T1 brain MR",
    "classes": ["tumour"],
    "dimensions": 2,
    "channels": 1,
    "licence": "CC BY 4.0",
    "citation": "Cheng J, et al. Enhanced performance of brain tumor classification via tumor region augmentation and partition. PLoS ONE 10(10):e0140381, 2015. doi:10.1371/journal.pone.0140381; data doi:10.6084/m9.figshare.1512427",
    "homepage": "https://doi.org/10.6084/m9.figshare.1512427",
    # File ids do not follow the order of the parts.
    "sources": [
        {
            "file": "brainTumorDataPublic_1-766.zip",
            "url": "https://ndownloader.figshare.com/files/3381290",
            "md5": "74b949ad33f042e6e103523091cd1428",
        },
        {
            "file": "brainTumorDataPublic_767-1532.zip",
            "url": "https://ndownloader.figshare.com/files/3381296",
            "md5": "7e8a875500d2c8a346f270538e29890e",
        },
        {
            "file": "brainTumorDataPublic_1533-2298.zip",
            "url": "https://ndownloader.figshare.com/files/3381293",
            "md5": "8227bf6080cb71f15a88be8d25c79ae7",
        },
        {
            "file": "brainTumorDataPublic_2299-3064.zip",
            "url": "https://ndownloader.figshare.com/files/3381302",
            "md5": "b378a80d6174e5317d59eb28430c6652",
        },
        {
            "file": "cvind.mat",
            "url": "https://ndownloader.figshare.com/files/7005344",
            "md5": "5ea82eb3212c9fcb84290ccf0beb486d",
        },
        {
            "file": "README 2024.txt",
            "url": "https://ndownloader.figshare.com/files/51340418",
            "md5": "4188f7c30957e9673c3611613071bd6e",
        },
    ],
    "megabytes": 900,
    "reader": "cheng",
    "intensity": {"percentiles": [0, 100]},
    # Folds keep patients together; the reader groups patient numbers that differ by a trailing letter only.
    "split": {
        "attribute": "fold",
        "test": ["5"],
        "provenance": "cvind.mat of the archive: five folds by patient number; the paper names no split",
    },
    "alternative_splits": {
        "fold1": {"attribute": "fold", "test": ["1"]},
        "fold2": {"attribute": "fold", "test": ["2"]},
        "fold3": {"attribute": "fold", "test": ["3"]},
        "fold4": {"attribute": "fold", "test": ["4"]},
    },
    "expected_cases": 3064,
}
