import json

import pytest

from spectralseg.config import validate_config
from spectralseg.operations import speed


@pytest.mark.parametrize(("size", "expected"), [(32, "toy"), (64, "toy, phantom")])
def test_data_prepared_with_other_settings_are_not_measured(size, expected, study, tmp_path, monkeypatch):
    """Otherwise their speed would be recorded for the new image size."""
    config = validate_config(study, "toy.yaml")
    prepared = tmp_path / "prepared" / "toy"
    prepared.mkdir(parents=True)
    (prepared / "dataset.json").write_text(json.dumps({"image_size": size, "source": "phantom"}))
    for name in ("open_prepared", "_phantom", "learner_of"):
        monkeypatch.setattr(speed, name, lambda *_, **__: None)
    monkeypatch.setattr(speed, "_times", lambda *_: {"together": 1.0})
    measurement = speed.measure(config, {"toy": None}, tmp_path)
    assert measurement["dataset"] == expected
    assert measurement["setting"]["image_size"] == 32
