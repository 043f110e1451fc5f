import copy
import json

import numpy as np
import pytest
import torch
from tests.conftest import STUDY

from spectralseg.config import validate_config
from spectralseg.data import open_prepared
from spectralseg.errors import InputError, Interrupted
from spectralseg.evaluation import suites
from spectralseg.evaluation.predict import load_predictor
from spectralseg.evaluation.residual_maps import map_quality
from spectralseg.grid import Run
from spectralseg.metrics.ranking import auroc
from spectralseg.models._masked_autoencoder import load_residual_map
from spectralseg.preprocessing import standardise, to_float
from spectralseg.reporting.drawing.residual_maps import draw_residual_maps
from spectralseg.run_folder import read_settings
from spectralseg.training import loop, pretraining
from spectralseg.training.settings import settings_of

pytestmark = pytest.mark.slow

SIZES = {"mask_ratio": 0.5, "patch": 8, "width": 16, "layers": 1, "heads": 2}
SIZES |= {"decoder_width": 16, "decoder_layers": 1, "decoder_heads": 2}
OPTIONS = {
    "decoder_channels": [16, 16, 8, 8, 8],
    "rcu_strides": [8, 4],
    "rcu_window": 4,
    "rcu_width": 8,
    "rcu_heads": 2,
}
RUN = Run("toy", "grcsf", "spatial", "0", 0)


def study(**changes):
    """Seven iterations of pretraining; checkpoints after 2, 4, 6 and validations after 3, 6, 7."""
    configuration = copy.deepcopy(STUDY)
    configuration["training"] |= {"save_every": 2, "validate_every": 3}
    configuration["pretraining"] = {
        "half": {**SIZES, "iterations": 7, "batch_size": 4, **changes},
        "untrained": {**SIZES, "iterations": 0},
    }
    encoder = configuration["architectures"]["unet"]["encoder"]
    grcsf = {"model": "grcsf", "encoder": encoder, "encoder_weights": None, "options": OPTIONS}
    configuration["architectures"]["grcsf"] = {**grcsf, "pretrained": ["half"]}
    configuration["architectures"]["other"] = {
        **grcsf,
        "pretrained": ["half"],
        "options": {**OPTIONS, "map_source": "other"},
    }
    configuration["grid"]["main"]["architectures"] = ["unet", "grcsf", "other"]
    return configuration


def config_of(**changes):
    return validate_config(study(**changes), "toy.yaml")


def pretrain(config, data, out, name="half"):
    pretraining.pretrain(config, name, data, out, device_name="cpu")
    return out / "model.pt"


@pytest.fixture(scope="session")
def pretrained(made_once, toy):
    """Folder of a finished pretraining."""
    return made_once("pretrained", lambda folder: pretrain(config_of(), toy, folder / "half")) / "half"


def test_it_writes_weights_description_and_log(pretrained, toy):
    history = [json.loads(line) for line in (pretrained / "history.jsonl").read_text().splitlines()]
    assert [entry["iteration"] for entry in history] == [3, 6, 7]
    assert {"loss", "validation_r2"} < history[0].keys()
    description = json.loads((pretrained / "run.json").read_text())
    assert description["run"] == {"dataset": "toy", "pretraining": "half"}
    assert description["data"] == toy.identity
    assert description["best_iteration"] == max(history, key=lambda entry: entry["validation_r2"])["iteration"]
    assert not (pretrained / "state.pt").exists()


@pytest.mark.parametrize("stop_at", [0, 1, 3, 5])
def test_a_stopped_pretraining_resumes_to_the_same_bits(toy, tmp_path, pretrained, monkeypatch, stop_at):
    check, calls = pretraining.StopRequest.check, []

    def stop(request):
        calls.append(1)
        if len(calls) == stop_at + 1:
            request.reason = "SIGTERM"
        return check(request)

    monkeypatch.setattr(pretraining.StopRequest, "check", stop)
    with pytest.raises(Interrupted, match="stopped by SIGTERM"):
        pretrain(config_of(), toy, tmp_path)
    assert (tmp_path / "state.pt").exists()
    weights = torch.load(pretrain(config_of(), toy, tmp_path), weights_only=True)
    expected = torch.load(pretrained / "model.pt", weights_only=True)
    assert all(torch.equal(weights["best"][name], value) for name, value in expected["best"].items())
    assert (tmp_path / "history.jsonl").read_text() == (pretrained / "history.jsonl").read_text()


def test_it_learns(toy, tmp_path):
    config = config_of(iterations=150, learning_rate=0.005, mask_ratio=0.5)
    pretrain(config, toy, tmp_path)
    history = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert history[-1]["validation_r2"] > history[0]["validation_r2"] + 0.1


def test_it_reads_training_and_validation_images_only(toy, tmp_path, monkeypatch):
    rows, part = [], type(toy).rows
    monkeypatch.setattr(type(toy), "rows", lambda data, name: rows.append(name) or part(data, name))
    pretrain(config_of(), toy, tmp_path)
    assert set(rows) == {"train", "validation"}


def inputs_of(data, rows):
    mean, std = (torch.tensor(data.info[key], dtype=torch.float32) for key in ("mean", "std"))
    return standardise(torch.from_numpy(to_float(data.images[rows])), mean, std)


@pytest.mark.parametrize("name", ["half", "untrained"])
def test_the_scale_is_a_percentile_of_the_training_part(toy, tmp_path, name):
    residual_map = load_residual_map(pretrain(config_of(), toy, tmp_path, name), 3).eval()
    rows = toy.rows("train")
    raw = residual_map.raw(inputs_of(toy, rows)).numpy()
    assert float(residual_map.scale) == pytest.approx(np.percentile(raw, 99), rel=1e-6)
    bank = residual_map.bank.numpy() / 255
    own = np.clip(raw[:, 0] / float(residual_map.scale), 0, 1)
    assert min(np.abs(own - bank[0]).max((1, 2))) <= 0.5 / 255 + 1e-6


def test_without_iterations_the_autoencoder_is_untrained(toy, tmp_path):
    pretrain(config_of(), toy, tmp_path, "untrained")
    description = json.loads((tmp_path / "run.json").read_text())
    assert description["iterations"] == 0
    assert description["validation_r2"] is None
    assert (tmp_path / "history.jsonl").read_text() == ""


def test_a_finished_pretraining_of_the_same_settings_is_kept(toy, tmp_path):
    file = pretrain(config_of(), toy, tmp_path)
    before = file.stat().st_mtime_ns
    options = {"device_name": "cpu", "keep_finished": True}
    pretraining.pretrain(config_of(), "half", toy, tmp_path, **options)
    assert file.stat().st_mtime_ns == before
    pretraining.pretrain(config_of(learning_rate=0.01), "half", toy, tmp_path, **options)
    assert file.stat().st_mtime_ns > before


def test_the_folder_of_another_pretraining_is_refused(toy, pretrained):
    with pytest.raises(InputError, match="holds another run, toy/half; choose another folder, or remove this one"):
        pretrain(config_of(), toy, pretrained, "untrained")


def test_a_run_records_its_masked_autoencoders_and_evaluation_finds_them(toy, tmp_path, pretrained):
    run = tmp_path / "run"
    loop.train(config_of(), RUN, toy, run, pretrained=[pretrained / "model.pt"], device_name="cpu")
    settings = read_settings(run)
    assert [entry.keys() for entry in settings["pretrained"]] == [{"file", "sha256"}]
    assert not any(name.startswith("maps") for name in torch.load(run / "model.pt", weights_only=True)["best"])
    predictor = load_predictor(run, settings, "best", 4, "cpu")
    trained = load_residual_map(pretrained / "model.pt", 3).eval()
    images = inputs_of(toy, toy.rows("validation"))
    assert torch.equal(predictor.model.residual_maps(images), trained(images))


def test_a_masked_autoencoder_that_is_gone_or_has_changed_is_an_error(toy, tmp_path):
    file = pretrain(config_of(), toy, tmp_path / "half")
    run = tmp_path / "run"
    loop.train(config_of(), RUN, toy, run, pretrained=[file], device_name="cpu")
    pretrain(config_of(learning_rate=0.1), toy, tmp_path / "half")
    with pytest.raises(InputError, match=f"{file}: has changed since {run} was trained with it; train the run again"):
        load_predictor(run, read_settings(run), "best", 4, "cpu")
    file.unlink()
    with pytest.raises(InputError, match=f"{file}: {run} was trained with this file, which is missing; restore it"):
        load_predictor(run, read_settings(run), "best", 4, "cpu")


class TestRefused:
    def check(self, config, data, files, message, out):
        with pytest.raises(InputError, match=message):
            loop.train(config, RUN, data, out, pretrained=files, device_name="cpu")
        assert not (out / "model.pt").exists()

    def test_a_missing_one(self, toy, tmp_path):
        message = "missing.pt: the pretrained masked autoencoder is missing; run 'spectralseg pretrain'"
        self.check(config_of(), toy, [tmp_path / "missing.pt"], message, tmp_path / "run")

    def test_too_few(self, toy, tmp_path):
        message = "'grcsf' uses 1 masked autoencoders, but --pretrained gives 0; give the files of half"
        self.check(config_of(), toy, [], message, tmp_path / "run")

    def test_another_pretraining(self, toy, tmp_path):
        file = pretrain(config_of(), toy, tmp_path / "untrained", "untrained")
        message = f"{file}: is the pretraining 'untrained', not 'half'; give its file"
        self.check(config_of(), toy, [file], message, tmp_path / "run")

    def test_one_of_other_settings(self, toy, tmp_path):
        file = pretrain(config_of(learning_rate=0.1), toy, tmp_path / "half")
        message = f"{file}: was pretrained with another 'learning_rate' than the configuration has; run"
        self.check(config_of(), toy, [file], message, tmp_path / "run")

    def test_a_damaged_one(self, toy, tmp_path):
        file = pretrain(config_of(), toy, tmp_path / "half")
        file.write_bytes(file.read_bytes()[:-1] + b"x")
        self.check(config_of(), toy, [file], "is damaged, as its checksum differs from run.json", tmp_path / "run")

    @pytest.mark.parametrize(("key", "kind"), [("files", "dataset or split"), ("image_size", "image size")])
    def test_one_of_another_split_or_image_size(self, toy, tmp_path, key, kind):
        file = pretrain(config_of(), toy, tmp_path / "half")
        description = json.loads((tmp_path / "half/run.json").read_text())
        description["data"][key] = {} if key == "files" else 64
        (tmp_path / "half/run.json").write_text(json.dumps(description))
        message = f"{file}: was pretrained on another {kind} than"
        self.check(config_of(), toy, [file], message, tmp_path / "run")


def test_settings_of_other_runs_do_not_change(toy):
    """Runs of earlier versions must not be outdated."""
    settings = settings_of(config_of(), Run("toy", "unet", "spatial", "0", 0), open_prepared(toy.path).identity)
    assert "pretraining" not in settings
    assert "pretrained" not in settings["architecture"]
    assert settings_of(config_of(), RUN, toy.identity)["pretraining"]["half"]["iterations"] == 7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"mask_ratio": 0.6},
            "pretraining.half.mask_ratio: mask ratio 0.6: 1 / \\(1 - ratio\\) must be a whole number",
        ),
        ({"width": 18}, "pretraining.half: 'width' is 18; give a multiple of 4"),
        ({"patch": 7}, "pretraining.half, for dataset 'toy': patches of 7 pixels do not tile images of 32 x 32"),
        (
            {"mask_ratio": 0.9},
            "pretraining.half, for dataset 'toy': 16 patches of 8 pixels cannot be partitioned into 10",
        ),
        ({"iteration": 3}, "pretraining.half.iteration: unknown key; did you mean 'iterations'"),
    ],
)
def test_a_pretraining_that_does_not_fit_is_refused_at_the_start(changes, message):
    with pytest.raises(InputError, match=f"^toy.yaml: {message}"):
        config_of(**changes)


@pytest.mark.parametrize(
    ("architecture", "names", "message"),
    [
        ("grcsf", ["hlaf"], "architectures.grcsf.pretrained: 'hlaf' is unknown; did you mean 'half'"),
        ("unet", ["half"], "architectures.unet.pretrained: model 'unet' uses no masked autoencoder; remove the key"),
    ],
)
def test_names_of_pretrainings_are_checked_at_the_start(architecture, names, message):
    configuration = study()
    configuration["architectures"][architecture]["pretrained"] = names
    with pytest.raises(InputError, match=f"^toy.yaml: {message}"):
        validate_config(configuration, "toy.yaml")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rcu_window": 7}, "windows of 7 pixels do not tile the 4 x 4 map at stride 8 of images of 32 x 32 pixels"),
        ({"rcu_strides": [64]}, "images of 32 x 32 pixels have no map at stride 64"),
    ],
)
def test_windows_that_do_not_tile_are_refused_at_the_start(options, message):
    configuration = study()
    configuration["architectures"]["grcsf"]["options"] = {**OPTIONS, **options}
    with pytest.raises(InputError, match=f"^toy.yaml: architectures.grcsf.options, for dataset 'toy': {message}"):
        validate_config(configuration, "toy.yaml")
    configuration["architectures"]["grcsf"]["options"] |= {"rcu": False}
    validate_config(configuration, "toy.yaml")


def test_the_evaluation_keeps_inner_maps_of_the_examples(toy, tmp_path, pretrained):
    loop.train(config_of(), RUN, toy, tmp_path, pretrained=[pretrained / "model.pt"], device_name="cpu")
    suites.evaluate(tmp_path, toy, [], config_of().evaluation, tmp_path, device_name="cpu")
    with np.load(tmp_path / "examples.npz") as stored:
        rows, inner = stored["row"], {name: stored[name] for name in stored if name.startswith("inner: ")}
    names = ["reconstruction, 50 %", "residual, 50 %", "importance, stride 8", "importance, stride 4"]
    assert list(inner) == [f"inner: {name}" for name in names]
    assert all(maps.shape == (len(rows), 32, 32) and maps.dtype == np.float16 for maps in inner.values())
    assert all(0 <= maps.min() <= maps.max() <= 1 for maps in inner.values())
    mean, std = (torch.tensor(toy.info[key]) for key in ("mean", "std"))
    residual_map, inputs = load_residual_map(pretrained / "model.pt", 3).eval(), inputs_of(toy, rows[:1])
    expected = residual_map(inputs)[0, 0].numpy()
    assert np.allclose(inner["inner: residual, 50 %"][0], expected, atol=1e-3)
    picture = (residual_map.reconstruction(inputs)[0].movedim(0, -1) * std + mean).clamp(0, 1).mean(-1)
    assert np.allclose(inner["inner: reconstruction, 50 %"][0], picture.detach().numpy(), atol=1e-3)


def test_maps_of_other_cases_can_be_trained(toy, tmp_path, pretrained):
    run = Run("toy", "other", "spatial", "0", 0)
    loop.train(config_of(), run, toy, tmp_path / "run", pretrained=[pretrained / "model.pt"], device_name="cpu")
    predictor = load_predictor(tmp_path / "run", read_settings(tmp_path / "run"), "best", 4, "cpu")
    maps = predictor.model.residual_maps(inputs_of(toy, toy.rows("validation")))
    assert float(maps.min()) >= 0
    assert 0 < float(maps.max()) <= 1


def test_maps_are_measured_and_drawn_for_validation_cases(toy, pretrained):
    quality, examples = map_quality(pretrained / "model.pt", toy, torch.device("cpu"))
    cases = toy.cases[toy.cases["part"] == "validation"]
    assert set(quality["case"]) <= set(cases["case"])
    assert set(quality["map"]) == {"residual", "untrained", "intensity"}
    case = cases[cases["case"] == quality["case"].iloc[0]].iloc[0]
    image, mask = to_float(toy.images[case["first"]]), toy.masks[case["first"]]
    inside = image.max(2) > 0
    trained = load_residual_map(pretrained / "model.pt", 3).eval()
    expected = auroc(trained.raw(inputs_of(toy, [case["first"]]))[0, 0].numpy()[inside], mask[inside] > 0)
    rows = quality[quality["case"] == case["case"]].set_index("map")
    assert rows.loc["residual", "auroc"] == pytest.approx(expected)
    assert rows.loc["intensity", "auroc"] == pytest.approx(auroc(image.mean(2)[inside], mask[inside] > 0))
    assert 1 <= len(examples) <= 4
    figure = draw_residual_maps(examples, "toy: half")
    assert len(figure.axes) == 3 * len(examples)
    assert draw_residual_maps([], "toy: half").axes[1].texts[0].get_text() == "no validation case has foreground"
