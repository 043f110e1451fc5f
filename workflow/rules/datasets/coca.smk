# COCA: gated coronary CT with regions of calcification. Registered users receive the files: source 'path'.
SPECIFICATION = {
    "name": "coca",
    "title": "COCA",
    "modality": "gated non-contrast cardiac CT",
    "classes": ["coronary calcification"],
    "dimensions": 3,
    "channels": 1,
    "licence": "registered access under the research use agreement of Stanford University; do not redistribute",
    "citation": "Stanford AIMI. COCA: coronary calcium and chest CTs. Related paper of the group: Eng D, et al. Automated coronary calcium scoring using deep learning with multicenter external validation. npj Digit Med 4:88, 2021. doi:10.1038/s41746-021-00460-1",
    "homepage": "https://stanfordaimi.azurewebsites.net/datasets/e8ca74dc-8dd4-4340-815a-60b41f6cb2aa",
    "reader": "coca",
    # It is not documented whether patients without annotation file were annotated.
    "reader_options": {"missing_xml": "exclude", "threshold": 130},
    "intensity": {"window": [-200, 1000]},
    # Lesions of a few pixels would vanish if slices were resampled.
    "fit": "crop",
    "lesions": {"connectivity": 6, "agatston": True},
    "split": {"random": 0.2, "provenance": "SpectralSeg; no official split is published"},
}
