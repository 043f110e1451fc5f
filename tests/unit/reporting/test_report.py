from types import SimpleNamespace

import jinja2
import pytest

from spectralseg.reporting.results import BANNER


@pytest.fixture(scope="module")
def overview(repository):
    text = (repository / "workflow" / "report" / "workflow.rst").read_text(encoding="utf-8")
    template = jinja2.Template(text, undefined=jinja2.StrictUndefined)
    return lambda config: template.render(snakemake=SimpleNamespace(config=config))


def test_phantoms_are_listed(overview):
    text = overview({"name": "demo", "datasets": {"acdc": {"source": "phantom"}, "btseg": None}})
    assert BANNER in text
    assert "1 of 2 datasets: acdc" in text


def test_real_data_have_no_banner(overview):
    text = overview({"name": "paper", "datasets": {"acdc": {"source": "path"}, "btseg": {}}})
    assert BANNER not in text
    assert text.startswith("Study ``paper``")


def test_leaks_are_reported(overview):
    study = {"name": "paper", "datasets": {"isic2018": {}, "isic2017": {}}}
    finding = "isic2018 → isic2017: 529 of 600 test cases match cases of isic2018 (108 train, 61 validation, 360 test)"
    assert f"**Leakage audit.** {finding}.\n\n" in overview({**study, "leaks": [finding]})
    assert "Leakage audit" not in overview({**study, "leaks": []})
