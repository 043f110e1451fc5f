import json

import pytest
import torch
from tests.standins.run import DESCRIPTION, RUN

from spectralseg.errors import InputError
from spectralseg.files import sha256_of
from spectralseg.run_folder import read_settings, read_weights, refuse_other_run, write_run


@pytest.fixture
def run(tmp_path):
    write_run(tmp_path, {"best": {"a": torch.arange(1000.0)}, "last": {"a": torch.ones(3)}}, DESCRIPTION)
    return tmp_path


def test_the_description_has_the_checksum_of_the_weights(run):
    assert read_settings(run) == {**DESCRIPTION, "weights_sha256": sha256_of(run / "model.pt")}
    assert read_weights(run, read_settings(run), "last")["a"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("damage", ["flipped", "other", "missing"])
def test_other_weights_are_refused(run, damage):
    content = bytearray((run / "model.pt").read_bytes())
    content[content.index(torch.arange(500.0, 510).numpy().tobytes())] ^= 1
    if damage == "missing":
        (run / "model.pt").unlink()
    elif damage == "flipped":
        (run / "model.pt").write_bytes(content)
    else:
        torch.save({"best": {"a": torch.zeros(1000)}}, run / "model.pt")
    with pytest.raises(InputError, match=r"model\.pt: .*; train the run again"):
        read_weights(run, read_settings(run), "best")


def test_runs_of_earlier_versions_have_no_checksum_and_are_read_with_a_warning(run, caplog):
    (run / "run.json").write_text(json.dumps(DESCRIPTION))
    assert len(read_weights(run, read_settings(run), "best")["a"]) == 1000
    assert "run.json: has no checksum of the weights (earlier version); they are not verified" in caplog.text


@pytest.mark.parametrize("key", ["run", "data", "parameters", "versions"])
def test_a_description_that_lacks_something_is_refused(run, key):
    (run / "run.json").write_text(json.dumps({name: value for name, value in DESCRIPTION.items() if name != key}))
    with pytest.raises(InputError, match=rf"run\.json: cannot be read as .*'{key}.* is missing\); train the run again"):
        read_settings(run)


def test_a_folder_is_not_used_for_another_run(run, tmp_path):
    refuse_other_run(run, RUN.keys)
    refuse_other_run(tmp_path / "new", RUN.keys)
    with pytest.raises(InputError, match=r"holds another run, toy/unet/mixed/lambda0\.2/seed0; choose another"):
        refuse_other_run(run, {**RUN.keys, "seed": 1})
    (run / "run.json").write_text("{}")
    refuse_other_run(run, {**RUN.keys, "seed": 1})
