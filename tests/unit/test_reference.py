import json

from spectralseg.config import Config
from spectralseg.reference import generated_files, json_schema


def test_generated_files_are_up_to_date(repository):
    stale = [str(path) for path, text in generated_files(repository).items() if path.read_text("utf-8") != text]
    assert stale == [], "run 'make docs'"


def test_the_schema_is_json_and_forbids_unknown_keys():
    schema = json.loads(json_schema())
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == set(Config.model_fields)


def test_the_page_names_every_dataset(repository):
    (page,) = [text for path, text in generated_files(repository).items() if path.suffix == ".md"]
    for file in (repository / "workflow" / "rules" / "datasets").glob("*.smk"):
        assert f"`{file.stem}`" in page
