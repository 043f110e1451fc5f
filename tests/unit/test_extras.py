"""Extras: what works without them, which of them a missing package belongs to, and that each has all that it needs."""

import ast
import functools
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib

import cv2
import nibabel
import numpy as np
import pytest
import tifffile
from tests.conftest import REPOSITORY

from spectralseg import cli, extras
from spectralseg.extras import MissingPackage, explaining_missing_packages, missing_package, require

pytestmark = pytest.mark.slow

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LISTS = {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
HIDING = """
import sys
from importlib.machinery import PathFinder
class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {hidden!r} else super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
"""


def listed(*lists):
    """Canonical names of the distributions in lists of pyproject.toml, and in those that they include."""
    names = set()
    for requirement in (requirement for name in lists for requirement in LISTS[name]):
        included = re.fullmatch(r"spectralseg\[([\w,]+)\]", requirement)
        names |= listed(*included[1].split(",")) if included else {re.match(r"[\w.-]+", requirement)[0].lower()}
    return names


@functools.cache
def provided():
    """Canonical names of the distributions of each installed top-level module."""
    installed = importlib.metadata.packages_distributions().items()
    return {module: {name.lower().replace("_", "-") for name in names} for module, names in installed}


def modules_of(distributions):
    """Top-level modules that distributions provide."""
    return {module for module, names in provided().items() if names & distributions}


EVERYTHING = listed(*LISTS)


def run_without(distributions, code, *arguments, cwd=REPOSITORY):
    """Run Python code in a process in which the modules of some distributions cannot be imported."""
    code = HIDING.format(hidden=modules_of(distributions)) + code
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environment)


def output_of(done):
    assert done.returncode == 0, done.stderr
    return done.stdout


RUN = "from spectralseg.cli import main; sys.exit(main(sys.argv[1:]))"
LOADED = """
loaded = {name.partition(".")[0] for name in sys.modules}
print(sorted(name for name in loaded - set(sys.stdlib_module_names) if not name.startswith("_")))
"""


@pytest.mark.parametrize(
    ("module", "packages"),
    [
        ("spectralseg", ["spectralseg"]),
        ("spectralseg.cli", ["spectralseg"]),
        ("spectralseg.metrics", ["numpy", "spectralseg"]),
        ("spectralseg.statistics", ["numpy", "spectralseg"]),
    ],
)
def test_a_light_module_imports_only(module, packages):
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys\nsys.path.insert(0, 'src')\nimport {module}\n{LOADED}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    assert ast.literal_eval(output_of(done)) == packages


def test_metrics_and_statistics_compute_with_numpy_and_scipy_only():
    code = """
import numpy as np
from spectralseg import metrics, statistics
from spectralseg.metrics.surface import boundary_band
mask, other = np.zeros((2, 3, 16, 16), bool)
mask[:, 2:9, 2:9] = other[:, 3:10, 2:9] = True
print(metrics.hausdorff95(mask, other), metrics.dice(metrics.overlap_counts(mask, other, 1)).tolist())
print(metrics.normalized_surface_dice(mask, other, 1), metrics.boundary_iou(mask, other))
print(boundary_band(mask, other, 1).sum(), metrics.match_lesions(mask, other).predicted)
print(metrics.expected_calibration_error(np.array([0.5]), np.array([1])))
rng = np.random.default_rng(0)
differences = rng.normal(0.1, 0.01, (3, 20))
print(statistics.paired_interval(differences).low > 0, statistics.equivalence(differences) is not None)
print(statistics.holm([0.01, 0.04]), statistics.wilcoxon(differences) < 0.05)
print(statistics.ranking_stability(rng.random((3, 2, 20))) is not None)
"""
    output = output_of(run_without(EVERYTHING - {"numpy", "scipy"}, code))
    assert output.startswith("1.0 [")
    assert len(output.splitlines()) == 7


def test_every_help_text_needs_no_package():
    commands = sorted(cli.parser()._subparsers._group_actions[0].choices)
    code = """
from spectralseg.cli import main
for command in sys.argv[1:]:
    try:
        main([command, "--help"])
    except SystemExit as stop:
        assert stop.code == 0, command
"""
    assert output_of(run_without(EVERYTHING, code, *commands)).count("usage: spectralseg") == len(commands)


ONLY_CORE = EVERYTHING - listed("")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of references and predictions by suffix."""
    root, rng = tmp_path_factory.mktemp("folders"), np.random.default_rng(0)
    for suffix in (".nii.gz", ".png", ".tif", ".bmp"):
        for folder in ("reference", "a", "b"):
            (root / suffix[1:] / folder).mkdir(parents=True)
        for case in range(4):
            reference = np.zeros((24, 24), np.uint8)
            reference[4:16, 4 + case : 18] = 1
            for folder, noise in (("reference", 0), ("a", 0.02), ("b", 0.1)):
                mask = reference ^ (rng.random(reference.shape) < noise).astype(np.uint8)
                _write(root / suffix[1:] / folder / f"case{case}{suffix}", mask)
    return root


def _write(path, mask):
    if path.name.endswith(".nii.gz"):
        nibabel.save(nibabel.Nifti1Image(np.stack([mask, mask], -1), np.diag([1, 1, 2, 1])), path)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, mask * 255, compression="lzw")
    else:
        assert cv2.imwrite(str(path), np.repeat(mask[..., None] * 255, 3, -1) if path.suffix == ".png" else mask * 255)


@pytest.mark.parametrize("kind", ["nii.gz", "png", "tif", "bmp"])
def test_folders_are_scored_and_compared_without_extras(folders, kind, tmp_path):
    reference, *predictions = (folders / kind / name for name in ("reference", "a", "b"))
    files = ["--out", tmp_path / "records.parquet", "--report", tmp_path / "report"]
    score = ["score", "--reference", reference, "--predictions", *predictions, *files, "--lesions"]
    assert "scores.html" in output_of(run_without(ONLY_CORE, RUN, *score, cwd=tmp_path))
    compare = ["compare", tmp_path / "records.parquet", "--baseline", "a", "--out", tmp_path / "comparisons.parquet"]
    output_of(run_without(ONLY_CORE, RUN, *compare, "--config", REPOSITORY / "config" / "demo.yaml", cwd=tmp_path))
    assert (tmp_path / "comparisons.parquet").is_file()


def test_tables_are_audited_without_extras(tmp_path):
    (tmp_path / "table.csv").write_text("method,DSC,IoU\na,90.0,81.8\nb,50.0,60.0\n", encoding="utf-8")
    done = run_without(ONLY_CORE, RUN, "audit-table", tmp_path / "table.csv")
    assert (done.returncode, "IoU" in done.stdout) == (1, True), done.stderr


@pytest.mark.parametrize(
    ("command", "package", "extra"),
    [
        ("train --config c.yaml --data d --architecture a --objective o --out out", "torch", "train"),
        ("pretrain --config c.yaml --data d --name n --out out", "torch", "train"),
        ("evaluate --config c.yaml --data d --run r", "torch", "train"),
        ("predict r --data d --out out", "torch", "train"),
        ("weights resnet50 imagenet", "torch", "train"),
        ("prepare workflow/rules/datasets/acdc.smk --raw raw --out out", "cv2", "data"),
        ("fetch workflow/rules/datasets/acdc.smk --out out", "filelock", "data"),
        ("report results", "matplotlib", "report"),
        ("card prepared --out card.html", "matplotlib", "report"),
    ],
)
def test_a_command_names_the_extra_that_it_lacks_before_any_work(command, package, extra, tmp_path):
    done = run_without(ONLY_CORE, RUN, *command.split(), cwd=tmp_path)
    assert done.returncode == 1
    name = command.split()[0]
    assert done.stderr == f"error: {name} needs {package}; install it with: pip install 'spectralseg[{extra}]'\n"
    assert not list(tmp_path.iterdir())


RUN_EXAMPLES = """
import contextlib, io, json, shlex
from spectralseg.cli import main, parser
(subparsers,) = parser()._subparsers._group_actions
errors = {}
for name, command in subparsers.choices.items():
    errors[name], standard = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(errors[name]), contextlib.redirect_stdout(standard):
        main(shlex.split(command.get_default("command").example))
print(json.dumps({name: stream.getvalue() for name, stream in errors.items()}))
"""


def test_the_page_on_installation_says_which_extra_each_command_needs(tmp_path):
    page = (REPOSITORY / "docs" / "install.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `?(\w+)`? \| (.+?) \| .*\|$", page.partition("| extra |")[2], re.MULTILINE)
    errors = json.loads(output_of(run_without(ONLY_CORE, RUN_EXAMPLES, cwd=tmp_path)))
    documented = [(name, extra) for extra, text in rows for name in re.findall(r"`([\w-]+)`", text) if name in errors]
    needed = [
        (name, (re.findall(r"pip install 'spectralseg\[(\w+)\]'", text) or ["none"])[0])
        for name, text in errors.items()
    ]
    assert sorted(documented) == sorted(needed)


@pytest.mark.parametrize("module", ["objectives", "models"])
def test_a_module_names_the_extra_that_it_lacks(module):
    code = f"""
try:
    import spectralseg.{module}
except ImportError as error:
    print(error)
"""
    expected = f"spectralseg.{module} needs torch; install it with: pip install 'spectralseg[train]'\n"
    assert output_of(run_without(ONLY_CORE, code)) == expected


IMPORT_ALL = """
import importlib, pkgutil
for package in sys.argv[1:]:
    package = importlib.import_module("spectralseg." + package)
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
"""


@pytest.mark.parametrize(
    ("extra", "packages"),
    [
        ("", ["metrics", "statistics", "published", "config", "reporting.scores", "reporting.tables"]),
        ("data", ["data", "corruptions"]),
        ("report", ["reporting"]),
        pytest.param(
            "train", ["objectives", "models", "training", "evaluation", "interpretation"], marks=pytest.mark.slow
        ),
    ],
)
def test_an_extra_has_all_packages_that_its_modules_import(extra, packages):
    output_of(run_without(EVERYTHING - listed("", *([extra] if extra else [])), IMPORT_ALL, *packages))


def test_every_package_is_listed_once():
    names = [re.match(r"[\w.-]+", line)[0].lower() for lines in LISTS.values() for line in lines]
    names = [name for name in names if name != "spectralseg"]
    assert sorted(names) == sorted(set(names))


def test_imported_packages_are_listed():
    names = set()
    for file in (REPOSITORY / "src" / "spectralseg").rglob("*.py"):
        nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
        names |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    roots = {name.partition(".")[0] for name in names} - {"spectralseg", *sys.stdlib_module_names}
    assert {name for name in roots if extras.extra_of(name) is None} <= modules_of(listed(""))


def test_metadata_of_a_wheel_give_the_same_extras_as_the_checkout(monkeypatch):
    packages = sorted(extras._DISTRIBUTIONS.get(name, name) for name in EVERYTHING)
    from_checkout = {package: extras.extra_of(package) for package in packages}
    assert (from_checkout["torch"], from_checkout["matplotlib"], from_checkout["numpy"]) == ("train", "report", None)
    lines = [*LISTS[""]]
    for extra in PROJECT["optional-dependencies"]:  # hatchling resolves extras that include others
        lines += [f"{name}; extra == '{extra}'" for name in listed(extra)]
    monkeypatch.setattr(extras, "checkout", lambda: None)
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: lines)
    extras.requirements.cache_clear()
    try:
        assert {package: extras.extra_of(package) for package in packages} == from_checkout
    finally:
        extras.requirements.cache_clear()


def test_require_finds_packages_without_importing_them():
    require("numpy", "json", what="this test")
    with pytest.raises(MissingPackage, match=r"^this test needs absent; .*'spectralseg\[all\]'$"):
        require("json", "absent", what="this test")


def test_other_missing_packages_keep_their_error():
    with pytest.raises(ModuleNotFoundError) as caught, explaining_missing_packages("this test"):
        import absent  # noqa: F401
    assert not isinstance(caught.value, MissingPackage)
    original = missing_package("torch", "inner")
    with pytest.raises(MissingPackage) as caught, explaining_missing_packages("outer"):
        raise original
    assert caught.value is original
    assert json.dumps(str(original)).count("\\n") == 0
