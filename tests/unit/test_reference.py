import json

from spectralseg.config import Config
from spectralseg.corruptions.severities import KINDS
from spectralseg.reference import generated_files, json_schema


def test_generated_files_are_up_to_date(repository):
    stale = [str(path) for path, text in generated_files(repository).items() if path.read_text("utf-8") != text]
    assert stale == [], "run 'make docs'"


def test_the_schema_is_json_and_forbids_unknown_keys():
    schema = json.loads(json_schema())
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == set(Config.model_fields)


def test_the_page_names_every_dataset(repository):
    page = generated_files(repository)[repository / "config" / "README.md"]
    for file in (repository / "workflow" / "rules" / "datasets").glob("*.smk"):
        assert f"`{file.stem}`" in page


def test_the_page_of_corruptions_has_a_row_per_corruption_with_values_and_source(repository):
    page = generated_files(repository)[repository / "docs" / "corruptions.md"]
    assert "| `bias_field` | coefficient 0.3, 0.6, 0.9, 1.2, 1.5 | ROOD-MRI |" in page
    for kind in KINDS.values():
        assert all(f"| `{name}` | " in page for name in kind.sweeps)
