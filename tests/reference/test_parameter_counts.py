"""Sizes of the paper's networks, counted in a prototype."""

import pytest
import torch

from spectralseg.models import build_model


@pytest.mark.parametrize(("name", "expected"), [("unet", 32_521_105), ("transunet", 101_924_369)])
def test_the_networks_of_the_paper_have_the_published_size(name, expected):
    with torch.device("meta"):
        model = build_model(name, 3, 1)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


def test_the_original_transunet_has_the_size_of_its_authors_code():
    with torch.device("meta"):
        model = build_model("transunet_original", 3, 9)
    assert sum(parameter.numel() for parameter in model.parameters()) == 105_277_081


@pytest.mark.parametrize("name", ["unet", "transunet"])
def test_grey_images_and_more_classes_change_the_first_and_last_layer_only(name):
    def count(channels, classes):
        with torch.device("meta"):
            model = build_model(name, channels, classes)
        return sum(parameter.numel() for parameter in model.parameters())

    assert count(3, 1) - count(1, 1) == 2 * 64 * 7 * 7
    assert count(3, 9) - count(3, 1) == 8 * (16 * 9 + 1)
