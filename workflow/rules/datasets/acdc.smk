# ACDC cine cardiac MR: 100 labelled patients, end-diastole and end-systole of each.
SPECIFICATION = {
    "name": "acdc",
    "title": "ACDC",
    "modality": "short-axis cine cardiac MR",
    "classes": ["right ventricle", "myocardium", "left ventricle"],
    "dimensions": 3,
    "channels": 1,
    "licence": "CC BY-NC-SA 4.0 by secondary sources; the citation is mandatory",
    "citation": "Bernard O, et al. Deep learning techniques for automatic MRI cardiac multi-structures segmentation and diagnosis: is the problem solved? IEEE Trans Med Imaging 37(11):2514-2525, 2018. doi:10.1109/TMI.2018.2837502",
    "homepage": "https://www.creatis.insa-lyon.fr/Challenge/acdc/",
    "sources": [
        {
            "file": "ACDC.zip",
            "url": "https://humanheart-project.creatis.insa-lyon.fr/database/api/v1/collection/637218c173e9f0047faa00fb/download",
            "sha256": "2787e08b0d3525cbac710fc3bdf69ee7c5fd7446472e49db8bc78548802f6b5e",
            # Built on request: the checksum may change without a change of content.
            "built_on_request": True,
        },
    ],
    "megabytes": 2000,
    "reader": "acdc",
    "reader_options": {"folder": "training"},
    "intensity": {"percentiles": [0, 100]},
    # Three lists of 70/10/20 patients circulate and the paper names none; it follows TransUNet, whose list this is.
    "split": {"list": "acdc_transunet", "key": "group"},
    "alternative_splits": {
        "ssl4mis": {"list": "acdc_ssl4mis", "key": "group"},
        "adawac": {"list": "acdc_adawac", "key": "group"},
    },
    "expected_cases": 200,
}
