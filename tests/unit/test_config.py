import copy
import re

import pytest
import yaml
from snakemake.utils import update_config

from spectralseg.config import Config, fill, load_config, validate_config
from spectralseg.data.specification import read_specifications
from spectralseg.errors import InputError
from spectralseg.grid import runs
from spectralseg.parsing import read_yaml


def set_key(study, key, value):
    """Set a key given as a dotted path."""
    *path, last = key.split(".")
    for part in path:
        study = study.setdefault(part, {})
    study[last] = value


def message(raw, **options):
    with pytest.raises(InputError) as caught:
        validate_config(raw, "toy.yaml", **options)
    text = str(caught.value)
    assert text.startswith("toy.yaml: ")
    assert "\n" not in text
    return text


def test_the_configurations_of_the_repository_are_valid(repository):
    specifications = read_specifications(repository / "workflow" / "rules" / "datasets")
    studies = [file for file in (repository / "config").glob("*.yaml") if "name" in read_yaml(file)]
    assert len(studies) > 5
    for file in studies:
        assert isinstance(load_config(file, specifications), Config)


def test_the_study_of_phantoms_asks_the_questions_of_the_study_of_lesions(repository):
    lesions, phantoms = (load_config(repository / "config" / f"{name}.yaml") for name in ("lesions", "lesion_phantoms"))
    assert phantoms.comparison.questions == lesions.comparison.questions
    assert phantoms.grid["stroke"] == lesions.grid["stroke"]
    for name, small in phantoms.architectures.items():
        large = lesions.architectures[name]
        assert (small.model, small.pretrained) == (large.model, large.pretrained)
        assert large.options.items() <= small.options.items()


def test_the_study_on_real_images_runs_on_other_data_as_documented(repository):
    other = re.search(
        r"```yaml\n( +name: evidence_isic\n.*?) +```", (repository / "config/README.md").read_text(), re.S
    )
    merged = read_yaml(repository / "config" / "evidence.yaml")
    update_config(merged, yaml.safe_load(other[1]))  # as Snakemake does with several files
    specifications = read_specifications(repository / "workflow" / "rules" / "datasets")
    config = validate_config(merged, "both", specifications)
    assert list(config.datasets) == ["isic2018"]
    assert {run.dataset for run in runs(config)} == {"isic2018"}


@pytest.mark.parametrize("section", ["datasets", "architectures", "pretraining", "objectives", "grid", "external"])
def test_false_removes_an_entry_and_nothing_else_does(study, section):
    expected = validate_config(copy.deepcopy(study), "toy.yaml")
    study.setdefault(section, {})["superfluous"] = False
    assert validate_config(study, "toy.yaml") == expected
    for value in (None, True, 0, "false"):
        study[section]["superfluous"] = value
        assert f"{section}.superfluous" in message(study)


def test_a_name_that_is_removed_and_used_is_unknown(study):
    study["datasets"]["other"] = dict(study["datasets"]["toy"])
    study["datasets"]["toy"] = False
    assert "grid.main.datasets: 'toy' is unknown" in message(study)


def test_nnunet_can_be_added_to_the_paper_grid(repository):
    specifications = read_specifications(repository / "workflow" / "rules" / "datasets")
    parts = [read_yaml(repository / "config" / name) for name in ("config.yaml", "nnunet.yaml")]
    config = validate_config(parts[0] | parts[1], "both", specifications)
    for file in config.external["nnunet"].dependencies:
        assert (repository / file).is_file()


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("trainning", "training"),
        ("training.batchsize", "batch_size"),
        ("datasets.toy.sorce", "source"),
        ("datasets.toy.phantom.case", "cases"),
        ("architectures.unet.encodr", "encoder"),
        ("objectives.mixed.auxilliary", "auxiliary"),
        ("grid.main.lambda", "lambdas"),
        ("evaluation.noise.corruption", "corruptions"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_valid_one(study, key, nearest):
    set_key(study, key, 1)
    text = message(study)
    assert f"{key}: unknown key" in text
    assert f"did you mean '{nearest}'?" in text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training.iterations", "100"),
        ("training.iterations", 1.5),
        ("training.iterations", 0),
        ("training.iterations", True),
        ("training.learning_rate", "1e-2"),
        ("training.learning_rate", 0),
        ("training.learning_rate", float("nan")),
        ("training.momentum", 1),
        ("training.flip", "yes"),
        ("training.schedule", "linear"),
        ("training.precision", "int8"),
        ("image_size", 100),
        ("validation", 1),
        ("validation", 0),
        ("name", "Paper"),
        ("name", "a/b"),
        ("name", "paper\n"),
        ("datasets", {}),
        ("datasets.toy.source", "web"),
        ("datasets.toy.phantom.cases", 2),
        ("architectures.unet.options", [1]),
        ("objectives.mixed.form", "subtract"),
        ("grid.main.seeds", []),
        ("grid.main.seeds", [-1]),
        ("grid.main.seeds", 0),
        ("evaluation.suites", ["iidd"]),
        ("evaluation.checkpoint", "first"),
    ],
)
def test_a_wrong_type_or_range_is_an_error_that_names_the_key(study, key, value):
    set_key(study, key, value)
    assert message(study).startswith(f"toy.yaml: {key}")


def test_off_needs_no_quotes(study):
    """YAML reads it as false."""
    set_key(study, "training.deterministic", yaml.safe_load("off"))
    assert validate_config(study, "toy.yaml").training.deterministic == "off"


@pytest.mark.parametrize("name", ["unet", "transunet", "transunet_original", "deeplabv3plus"])
def test_every_model_name_is_valid(study, name):
    set_key(study, "architectures.unet.model", name)
    assert validate_config(study, "toy.yaml").architectures["unet"].model == name


@pytest.mark.parametrize("value", [0.2, 1, 1e-3, "1e-3", "0.20", "0.0", ".5", "5.", "-0.1", "+0.1", "00.1", " 0.2", ""])
def test_a_lambda_that_is_not_a_canonical_quoted_decimal_is_rejected(study, value):
    set_key(study, "grid.main.lambdas", [value])
    text = message(study)
    assert "grid.main.lambdas.0" in text
    assert "quoted decimal" in text
    assert repr(value) in text


@pytest.mark.parametrize("value", ["0.2\n", "1٢", "٢"])
def test_a_lambda_that_is_invalid_in_a_path_is_rejected(study, value):
    set_key(study, "grid.main.lambdas", [value])
    assert "grid.main.lambdas.0" in message(study)


@pytest.mark.parametrize("value", ["0", "1", "10", "0.2", "0.05", "12.5"])
def test_canonical_lambdas_are_kept_as_written(study, value):
    set_key(study, "grid.main.lambdas", [value])
    assert validate_config(study, "toy.yaml").grid["main"].lambdas == [value]


@pytest.mark.parametrize("key", ["encoder", "encoder_weights"])
@pytest.mark.parametrize("value", ["", "resnet18$(touch PWNED)", "a b", "a/b", "..", "-x", "x;y", "x\n"])
def test_a_name_that_is_invalid_in_a_path_or_command_is_rejected(study, key, value):
    set_key(study, f"architectures.unet.{key}", value)
    assert f"architectures.unet.{key}: " in message(study)


@pytest.mark.parametrize("value", [None, "imagenet", "noisy-student", "a folder/it's mine.pt"])
def test_weights_are_a_plain_name_or_any_file(study, value):
    set_key(study, "architectures.unet.encoder_weights", value)
    assert validate_config(study, "toy.yaml").architectures["unet"].encoder_weights == value


@pytest.mark.parametrize("text", ["[0.2]", "[1e-3]", "[1.0e-3]", "[0.20]"])
def test_an_unquoted_lambda_is_rejected(study, text):
    set_key(study, "grid.main.lambdas", yaml.safe_load(text))
    assert "grid.main.lambdas.0" in message(study)


def test_severities_must_be_quoted_decimals_too(study):
    set_key(study, "evaluation.noise.corruptions", {"gaussian": [0.01]})
    assert "evaluation.noise.corruptions.gaussian.0" in message(study)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("evaluation.noise.corruptions.gaussian", ["0.01", "0.1", "0.01"]),
        ("evaluation.interpretation.layers", ["decoder", "decoder"]),
    ],
)
def test_duplicates_are_rejected(study, key, values):
    set_key(study, key, values)
    assert f"{key}: '{values[-1]}' is listed twice; keep one" in message(study)
    set_key(study, key, values[:-1])
    validate_config(study, "toy.yaml")


@pytest.mark.parametrize(
    ("key", "value", "reported_key", "nearest"),
    [
        ("architectures.unet.model", "unett", "architectures.unet.model", "unet"),
        ("objectives.mixed.base", "bce_dyce", "objectives.mixed.base", "bce_dice"),
        ("objectives.mixed.auxiliary", "spektral", "objectives.mixed.auxiliary", "spectral"),
        ("grid.main.datasets", ["toi"], "grid.main.datasets", "toy"),
        ("grid.main.architectures", ["uunet"], "grid.main.architectures", "unet"),
        ("grid.main.objectives", ["spatil"], "grid.main.objectives", "spatial"),
        ("evaluation.noise.datasets", ["toyy"], "evaluation.noise.datasets", "toy"),
        ("evaluation.noise.corruptions", {"gausian": ["0.01"]}, "evaluation.noise.corruptions", "gaussian"),
        ("evaluation.noise.sweep", ["tooy"], "evaluation.noise.sweep", "toy"),
    ],
)
def test_an_unknown_name_is_rejected_with_the_nearest_valid_one(study, key, value, reported_key, nearest):
    set_key(study, key, value)
    text = message(study)
    assert f"{reported_key}: " in text
    assert f"did you mean '{nearest}'?" in text


def test_a_dataset_without_a_dataset_file_is_rejected_with_the_nearest_one(study, toy_specification):
    toy = toy_specification()
    assert "did you mean 'toys'?" in message(study, known_datasets={"acdc": toy, "toys": toy})
    assert validate_config(study, "toy.yaml", {"toy": toy}).name == "toy"


def test_a_sweep_needs_a_dataset_whose_modality_has_one(study, toy_specification):
    set_key(study, "evaluation.noise.sweep", ["toy"])
    assert "evaluation.noise.sweep: toy: modality 'drawing'" in message(
        study, known_datasets={"toy": toy_specification()}
    )
    specifications = {"toy": toy_specification(modality="cranial CT")}
    assert validate_config(study, "toy.yaml", specifications).evaluation.noise.sweep == ["toy"]


@pytest.mark.parametrize("key", ["name", "datasets", "architectures", "objectives", "grid"])
def test_a_missing_key_is_named(study, key):
    del study[key]
    assert message(study) == f"toy.yaml: {key}: this key is missing; add it"


def test_a_missing_inner_key_is_named_by_its_path(study):
    del study["grid"]["main"]["seeds"]
    assert message(study) == "toy.yaml: grid.main.seeds: this key is missing; add it"


@pytest.mark.parametrize("raw", [None, [], "text", 3])
def test_a_configuration_that_is_not_a_mapping_is_rejected(raw):
    assert message(raw)


def test_an_objective_with_auxiliary_term_needs_lambdas(study):
    del study["grid"]["main"]["lambdas"]
    assert "grid.main: objective 'mixed' needs 'lambdas'" in message(study)


@pytest.mark.parametrize("choice", [{"source": "path"}, {"source": "phantom", "path": "x"}, {"path": "x"}])
def test_a_path_is_required_for_source_path_and_not_allowed_for_others(study, choice):
    study["datasets"]["toy"] = choice
    assert "'path'" in message(study)


def test_a_missing_or_invalid_file_is_an_input_error_with_its_name(tmp_path):
    for content in (None, b"a: [1", b"\xff\xfe\x00bad"):
        file = tmp_path / "broken.yaml"
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(InputError, match=r"broken\.yaml: cannot be read"):
            load_config(file)


def test_a_resolved_configuration_reads_back_as_itself(study, tmp_path):
    config = validate_config(study, "toy.yaml")
    file = tmp_path / "resolved.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True))
    assert load_config(file) == config


def test_an_infinite_learning_rate_is_rejected(study):
    study["training"]["learning_rate"] = float("inf")
    assert "training.learning_rate" in message(study)


def test_options_without_an_auxiliary_objective_are_rejected(study):
    study["objectives"]["spatial"]["auxiliary_options"] = {"band": [1, 9]}
    text = message(study)
    assert text.startswith("toy.yaml: objectives.spatial: ")
    assert "'auxiliary_options' needs 'auxiliary'" in text


@pytest.mark.parametrize(
    ("part", "options", "expected"),
    [
        ("base", {"smoth": 1}, "objective 'bce_dice': option 'smoth' is unknown; did you mean 'smooth'?"),
        ("auxiliary", {"bnd": [1, 2]}, "objective 'spectral': option 'bnd' is unknown; did you mean 'band'?"),
    ],
)
def test_an_unknown_option_of_an_objective_is_rejected_with_the_nearest_one(study, part, options, expected):
    study["objectives"]["mixed"][f"{part}_options"] = options
    assert message(study).startswith(f"toy.yaml: objectives.mixed.{part}_options: {expected}")


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [("name: a\nname: b", 2, "name"), ("grid:\n  main: {seeds: [0],\n    seeds: [1]}", 3, "seeds")],
)
def test_a_duplicate_key_is_rejected(tmp_path, text, line, key):
    file = tmp_path / "twice.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=rf"twice\.yaml: .*line {line}: duplicate key '{key}'"):
        load_config(file)


def test_a_key_may_override_one_merged_from_an_anchor(study, tmp_path):
    shared = "first: &a {base: bce_dice, form: add}\nsecond: &b {<<: *a, form: convex}\nthird: {<<: *b, form: printed}"
    del study["objectives"]
    for block in study["grid"].values():
        block.update(objectives=["first", "third"], lambdas=[])
    indented = "".join(f"  {line}\n" for line in shared.splitlines())
    (tmp_path / "merged.yaml").write_text(f"{yaml.safe_dump(study)}objectives:\n{indented}")
    objectives = load_config(tmp_path / "merged.yaml").objectives
    assert {name: objective.form for name, objective in objectives.items()} == {
        "first": "add",
        "second": "convex",
        "third": "printed",
    }


class TestBaseline:
    def test_the_baseline_needs_runs(self, study):
        study["grid"]["main"]["objectives"] = ["mixed"]
        assert message(study) == (
            "toy.yaml: comparison.baseline: objective 'spatial' is in no block of the grid; "
            "add its runs or name one of mixed"
        )

    def test_the_baseline_has_one_lambda_per_dataset_and_architecture(self, study):
        study["comparison"] = {"baseline": "mixed"}
        validate_config(study, "toy.yaml")
        study["grid"]["more"] = {**study["grid"]["main"], "architectures": ["transunet"], "lambdas": ["0.5"]}
        validate_config(study, "toy.yaml")
        study["grid"]["more"]["architectures"] = ["unet"]
        assert "'mixed' has several λ (0.2, 0.5) for unet on toy" in message(study)


PAPER = [f"table_{number}" for number in range(1, 7)]


@pytest.mark.parametrize(
    ("kind", "name", "nearest"),
    [
        ("tables", "summry", "summary"),
        ("tables", "table_66", "table_6"),
        ("figures", "forrest", "forest"),
        ("studies", "study_sgn", "study_sign"),
    ],
)
def test_an_unknown_page_is_refused_with_the_nearest_one(study, kind, name, nearest):
    study[kind] = [name]
    assert f"toy.yaml: {kind}: '{name}' is unknown; did you mean '{nearest}'?" in message(study, own_outputs=PAPER)


def test_a_page_may_be_a_notebook_of_ones_own_and_is_of_one_kind(study):
    study["tables"] = ["summary", "mine"]
    validate_config(study, "toy.yaml", own_outputs=[*PAPER, "mine", "forest"])
    study["tables"] = ["forest"]
    assert "tables: 'forest' is unknown" in message(study, own_outputs=[*PAPER, "mine", "forest"])


def test_notebooks_are_looked_for_in_the_repository_of_the_configuration(study, tmp_path):
    file = tmp_path / "results" / "toy" / "config.yaml"
    executed = file.parent / "notebooks"
    for folder, names in {tmp_path / "notebooks": ("mine", "table", "figure", "study"), executed: ("other",)}.items():
        folder.mkdir(parents=True)
        for name in names:
            (folder / f"{name}.ipynb").touch()
    file.write_text(yaml.safe_dump({**study, "tables": ["mine"]}))
    assert load_config(file).tables == ["mine"]
    file.write_text(yaml.safe_dump({**study, "tables": ["other"]}))
    with pytest.raises(InputError, match="tables: 'other' is unknown"):
        load_config(file)


def test_executed_notebooks_of_a_results_folder_limit_no_names(study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "results" / "toy" / "config.yaml"
    (file.parent / "notebooks").mkdir(parents=True)
    (file.parent / "notebooks" / "summary.ipynb").touch()
    file.write_text(yaml.safe_dump({**study, "tables": ["table_3"]}))
    assert load_config(file).tables == ["table_3"]


def test_a_split_is_one_of_the_dataset_file_or_a_list(study, toy_specification):
    specifications = {"toy": toy_specification(alternative_splits={"official": {"random": 0.5}})}
    study["datasets"]["toy"]["split"] = "offical"
    assert "datasets.toy.split: 'offical' is unknown; did you mean 'official'?" in message(
        study, known_datasets=specifications
    )
    for split in ("official", "my/split.csv"):
        study["datasets"]["toy"]["split"] = split
        validate_config(study, "toy.yaml", specifications)


@pytest.mark.parametrize(
    ("encoder", "weights", "expected"),
    [
        ("resnet5", None, "encoder: 'resnet5' is unknown; did you mean 'resnet"),
        ("resnet50", "imagnet", "encoder_weights: 'imagnet' is unknown; did you mean 'imagenet'?"),
        ("resnet50", "weights/mine", "encoder_weights: must be the name of published weights"),
        ("resnet18$(touch PWNED)", None, "encoder: String should match pattern"),
    ],
)
def test_unknown_encoders_and_weights_are_rejected(study, encoder, weights, expected):
    study["architectures"]["unet"] = {"model": "unet", "encoder": encoder, "encoder_weights": weights}
    assert f"toy.yaml: architectures.unet.{expected}" in message(study)


@pytest.mark.parametrize("encoder", ["resnet50", "tu-resnet50.a1_in1k", "timm-regnetx_002", "mit_b0"])
def test_known_encoders_and_weights_are_valid(study, encoder):
    study["architectures"]["unet"] = {"model": "unet", "encoder": encoder, "encoder_weights": "imagenet"}
    validate_config(study, "toy.yaml")


class TestPaths:
    PLACES = ("downloads", "datasets.toy.path", "datasets.toy.split", "architectures.unet.encoder_weights")

    def place(self, study, key, value):
        study["datasets"]["toy"] = {"source": "path", "path": "raw"}
        study["architectures"]["unet"]["options"] = {}
        set_key(study, key, value)
        return study

    @pytest.mark.parametrize("key", PLACES)
    @pytest.mark.parametrize(
        "value", ["", "  ", "a/{dataset}.csv", "a\n.csv", "\x1b[2J.csv", "-rf.csv", "~nobody-at-all/x.csv"]
    )
    def test_paths_that_are_invalid_in_a_command_are_rejected(self, study, key, value):
        assert message(self.place(study, key, value)).startswith(f"toy.yaml: {key}: ")

    @pytest.mark.parametrize("key", PLACES)
    def test_a_tilde_expands_to_the_home_folder(self, study, key, monkeypatch):
        monkeypatch.setenv("HOME", "/home/me")
        name = "~/x y/é'\".pt" if "weights" in key else "~/x y/é'\".csv"
        value = validate_config(self.place(study, key, name), "toy.yaml").model_dump()
        for part in key.split("."):
            value = value[part]
        assert value == f"/home/me{name[1:]}"


def numbers(schema, path=""):
    """Schemas of all numbers in a JSON schema, by path."""
    if isinstance(schema, dict):
        if schema.get("type") in ("integer", "number"):
            yield path, schema
        for key, part in schema.items():
            yield from numbers(part, f"{path}.{key}")
    elif isinstance(schema, list):
        for part in schema:
            yield from numbers(part, path)


def test_every_number_has_limits():
    schemas = dict(numbers(Config.model_json_schema()))
    assert len(schemas) > 25
    for path, schema in schemas.items():
        assert {"maximum", "exclusiveMaximum"} & schema.keys(), path
        assert {"minimum", "exclusiveMinimum"} & schema.keys(), path


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training.epochs", 1e308),
        ("training.batch_size", 10**9),
        ("training.workers", 1_000_000),
        ("grid.main.seeds", [2**63]),
        ("grid.main.lambdas", ["9" * 30]),
        ("grid.main.lambdas", ["1000001"]),
        ("image_size", 32 * 10**9),
        pytest.param("training.iterations", 10**5000, id="digits"),
    ],
)
def test_a_number_beyond_its_limit_is_rejected_with_a_short_message(study, key, value):
    set_key(study, key, value)
    text = message(study)
    assert text.startswith(f"toy.yaml: {key}")
    assert len(text) < 500


class TestMargins:
    @pytest.mark.parametrize(
        ("margins", "expected"),
        [
            ({"hd95": -1}, "comparison.margins.hd95: must be a positive number of at most 10,000, or a mapping"),
            ({"hd95": 0}, "comparison.margins.hd95: must be a positive number"),
            ({"hd95": "2 mm"}, "comparison.margins.hd95: must be a positive number"),
            ({"hd95": True}, "comparison.margins.hd95: must be a positive number"),
            ({"hd95": float("inf")}, "comparison.margins.hd95: must be a positive number"),
            ({"hd95": {"toy": 0}}, "comparison.margins.hd95: must be a positive number"),
            ({"hd96": 2}, "comparison.margins: 'hd96' is unknown; did you mean 'hd95'?"),
            ({"hd95": {"tov": 2}}, "comparison.margins.hd95: 'tov' is unknown; did you mean 'toy'?"),
        ],
    )
    def test_an_invalid_margin_is_rejected(self, study, margins, expected):
        set_key(study, "comparison.margins", margins)
        assert expected in message(study)

    @pytest.mark.parametrize(
        ("key", "value"),
        [("margin", 50), ("margin", 1), ("margins.dsc", 0.5e2), ("margins.cam_iou", 1), ("margins.nsd", {"toy": 2})],
    )
    def test_a_margin_of_a_share_in_percentage_points_is_rejected(self, study, key, value):
        set_key(study, f"comparison.{key}", value)
        text = message(study)
        assert text.startswith(f"toy.yaml: comparison.{key}: ")
        assert "between 0 and 1, where 0.005 is half a percentage point" in text

    def test_a_margin_is_a_number_or_a_number_per_test_dataset(self, study):
        set_key(study, "comparison.margins", {"hd95": {"toy": 2}, "dsc": 0.01})
        assert validate_config(study, "toy.yaml").comparison.margins == {"hd95": {"toy": 2.0}, "dsc": 0.01}

    def test_distances_have_no_margin_by_default(self, study):
        assert validate_config(study, "toy.yaml").comparison.margins == {}


def test_a_dataset_may_override_iterations(study):
    set_key(study, "training.epochs", 3.0)
    assert validate_config(study, "toy.yaml").training_of("toy").epochs == 3.0
    set_key(study, "datasets.toy.iterations", 7)
    config = validate_config(study, "toy.yaml")
    assert (config.training_of("toy").iterations, config.training_of("toy").epochs) == (7, None)
    assert config.training_of("toy").model_copy(update={"iterations": 0, "epochs": 3.0}) == config.training.model_copy(
        update={"iterations": 0}
    )


class TestImageSize:
    def test_a_dataset_may_override_it(self, study):
        set_key(study, "datasets.toy.image_size", 64)
        config = validate_config(study, "toy.yaml")
        assert (config.image_size, config.size_of("toy")) == (32, 64)

    @pytest.mark.parametrize("sizes", [{"toy": 64}, {"other": 64}])
    def test_partners_must_share_it(self, study, toy_specification, sizes):
        study["datasets"]["other"] = {"source": "phantom"}
        for name, size in sizes.items():
            study["datasets"][name]["image_size"] = size
        specifications = {"toy": toy_specification(ood=["other"]), "other": toy_specification(name="other")}
        with pytest.raises(InputError, match=r"datasets\.other\.image_size: must be (64|32) as that of 'toy'"):
            validate_config(study, "toy.yaml", specifications)
        for name in ("toy", "other"):
            study["datasets"][name]["image_size"] = 64
        validate_config(study, "toy.yaml", specifications)


EXTERNAL = {
    "datasets": ["toy"],
    "seeds": [0],
    "train": "python train.py {data} {model} {seed}",
    "predict": "python predict.py {model} {images} {predictions}",
}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"train": "python 'train.py {model} {seed}"}, "external.other.train: No closing quotation"),
        ({"train": " "}, "external.other.train: must not be empty"),
        ({"train": "train {model} {seed} {images}"}, "external.other.train: '{images}' is no placeholder"),
        ({"train": "train {model} {seed:03}"}, "external.other.train: '{seed:}' is no placeholder"),
        ({"train": "train {model.name} {seed}"}, "external.other.train: '{model.name}' is no placeholder"),
        ({"train": "train {} {model} {seed}"}, "external.other.train: '{}' is no placeholder"),
        ({"train": "train {model} {seed} {"}, "external.other.train: "),
        ({"train": "train {model}"}, "external.other.train: lacks the placeholder '{seed}'"),
        ({"predict": "predict {model} {images}"}, "external.other.predict: lacks the placeholder '{predictions}'"),
        ({"prepare": "prepare {data}"}, "external.other.prepare: lacks the placeholder '{preprocessed}'"),
        ({"datasets": ["toi"]}, "external.other.datasets: 'toi' is unknown; did you mean 'toy'?"),
        ({"datasets": ["toy", "toy"]}, "external.other.datasets: 'toy' is listed twice"),
        ({"seeds": [-1]}, "external.other.seeds.0: "),
        ({"trian": "x"}, "external.other.trian: unknown key; did you mean 'train'?"),
    ],
)
def test_an_external_method_that_cannot_run_is_refused(study, change, problem):
    study["external"] = {"other": {**EXTERNAL, **change}}
    assert problem in message(study)


def test_an_external_method_is_not_mixed_up_with_the_grid(study):
    study["external"] = {"unet": EXTERNAL}
    assert "external.unet: is the name of an architecture" in message(study)
    study["external"] = {"other": EXTERNAL}
    study["objectives"]["external"] = {"base": "bce_dice"}
    assert "objectives.external: is the objective of the runs under 'external'" in message(study)


def test_words_of_a_command_are_filled_without_a_shell():
    values = {"model": "a b; rm c", "seed": 3}
    assert fill("python 'my script.py' --out={model}/m {{x}} {seed}", values) == [
        *("python", "my script.py", "--out=a b; rm c/m", "{x}", "3")
    ]
