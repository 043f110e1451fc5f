from types import SimpleNamespace

import jinja2
import pytest

from spectralseg.reporting.results import BANNER


@pytest.fixture(scope="module")
def overview(repository):
    text = (repository / "workflow" / "report" / "workflow.rst").read_text(encoding="utf-8")
    template = jinja2.Template(text, undefined=jinja2.StrictUndefined)
    return lambda config: template.render(snakemake=SimpleNamespace(config=config))


def test_phantoms_are_named(overview):
    text = overview({"name": "demo", "datasets": {"acdc": {"source": "phantom"}, "btseg": None}})
    assert BANNER in text
    assert "1 of 2 datasets: acdc" in text


def test_real_data_carry_no_banner(overview):
    text = overview({"name": "paper", "datasets": {"acdc": {"source": "path"}, "btseg": {}}})
    assert BANNER not in text
    assert text.startswith("Study ``paper``")
