"""Contract of every dataset file, from its specification to a training batch."""

import html
import inspect
import re

import numpy as np
import pytest
import torch

from spectralseg import registry
from spectralseg.config import Training
from spectralseg.data import phantoms, readers, splits, verify_prepared
from spectralseg.data.prepare import prepare
from spectralseg.data.specification import read_specification, read_specifications
from spectralseg.errors import InputError
from spectralseg.files import sha256_of
from spectralseg.reporting.cards import write_card
from spectralseg.reporting.cards.card import PHANTOM
from spectralseg.training.batches import batches


def pytest_generate_tests(metafunc):
    if "name" in metafunc.fixturenames:
        folder = metafunc.config.rootpath / "workflow" / "rules" / "datasets"
        metafunc.parametrize("name", sorted(path.stem for path in folder.glob("*.smk")))


@pytest.fixture(scope="module")
def specifications(repository):
    return read_specifications(repository / "workflow" / "rules" / "datasets")


@pytest.fixture
def specification(specifications, name):
    return specifications[name]


def test_the_specification_has_all_descriptive_keys(specification):
    assert specification.title
    assert specification.licence
    assert re.search(r"doi:|arXiv:", specification.citation), "a citation that can be found"
    assert specification.homepage.startswith("https://")
    assert len(set(specification.classes)) == len(specification.classes)


def test_every_source_has_an_address_that_can_be_used(specification):
    # Of a dataset that only its users can obtain, there are none.
    assert specification.sources or specification.licence.startswith(("registered access", "access by form"))
    files = [source.file for source in specification.sources]
    assert len(set(files)) == len(files)
    for source in specification.sources:
        assert re.match(r"https://|synapse:syn\d+$|gdrive:[\w-]+$|girder$", source.url), source.url
        assert source.sha256 is None or re.fullmatch("[0-9a-f]{64}", source.sha256)
        assert source.md5 is None or re.fullmatch("[0-9a-f]{32}", source.md5)
        if source.url.startswith("https://"):
            assert source.sha256 or source.md5, "what is downloaded without asking must be checked"


def test_the_reader_exists_and_takes_the_options(specification, tmp_path):
    read = registry.load("spectralseg.data.readers", specification.reader, "reader").read
    inspect.signature(read).bind(tmp_path, **specification.reader_options)
    with pytest.raises(InputError, match=re.escape(str(tmp_path))):
        readers.read_cases(specification.reader, tmp_path, specification.reader_options)


def test_the_split_list_exists_and_fits_the_expected_cases(specification):
    if specification.split.list is None:
        return
    assert specification.split.list in splits.available()
    listed = splits.read_list(specification.split.list).parts
    assert not set(listed) & set(specification.exclude)
    if specification.expected_cases and specification.split.key == "case":
        assert len(listed) == specification.expected_cases


def test_partners_exist_with_the_same_kind_of_task(specification, specifications):
    for partner in specification.ood:
        assert partner != specification.name
        assert partner in specifications
        assert len(specifications[partner].classes) == len(specification.classes)
        assert specifications[partner].channels == specification.channels


@pytest.mark.slow
def test_the_phantom_writes_reproducible_official_files(specification, tmp_path):
    assert specification.name in phantoms.available()
    for folder in ("a", "b"):
        phantoms.generate(specification.name, tmp_path / folder, cases=4, side=40, seed=5)
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert names
    assert not specification.sources or names <= {source.file for source in specification.sources}
    assert {p.name: sha256_of(p) for p in (tmp_path / "a").iterdir()} == {
        p.name: sha256_of(p) for p in (tmp_path / "b").iterdir()
    }


@pytest.mark.slow
def test_the_phantom_is_prepared_verified_and_described(prepared_phantom, specification):
    data = prepared_phantom(specification.name)
    parts = verify_prepared(data.path)
    assert parts["test"] > 0
    assert data.info["source"] == "phantom"
    assert data.info["allow_partial"] is True
    assert data.info["licence"] == specification.licence
    assert data.images.shape[1:] == (32, 32, specification.channels)
    present = {int(label) for label in np.unique(np.asarray(data.masks))}
    assert present == set(range(len(specification.classes) + 1)), "every class is drawn"
    test = data.cases[data.cases["part"] == "test"]
    for case in test["case"]:
        native = data.native_labels(case)
        assert native.ndim == specification.dimensions
        spacing = data.spacing(case)
        assert spacing is None or (len(spacing) == native.ndim and min(spacing) > 0)


@pytest.mark.slow
def test_the_phantom_has_a_card(prepared_phantom, specification, tmp_path):
    write_card(prepared_phantom(specification.name).path, tmp_path / "card.html")
    page = html.unescape((tmp_path / "card.html").read_text(encoding="utf-8"))
    assert len(page) < 1_500_000
    for text in (specification.title, specification.licence, specification.citation, *specification.classes, PHANTOM):
        assert text in page


def test_first_batch(prepared_phantom, specification):
    data = prepared_phantom(specification.name)
    requests = (data, Training(iterations=1, batch_size=3), 0, 0, 1, torch.device("cpu"))
    if specification.split.everything == "test" or not len(data.rows("train")):
        assert set(data.cases["part"]) == {"test"}
        with pytest.raises(InputError, match="no training cases"):
            batches(*requests)
        return
    assert {"train", "validation", "test"} == set(data.cases["part"])
    images, masks = next(batches(*requests))
    assert images.shape == (3, 32, 32, specification.channels)
    assert images.dtype == torch.float32
    assert 0 <= images.min() < images.max() <= 1
    assert masks.shape == (3, 32, 32)
    assert int(masks.max()) <= len(specification.classes)


def test_a_subset_is_refused_unless_it_is_allowed(specification, tmp_path):
    if specification.split.list is None and not specification.expected_cases:
        return  # nothing says what is missing
    phantoms.generate(specification.name, tmp_path / "raw", cases=4, side=40, seed=5)
    with pytest.raises(InputError, match="allow_partial: true"):
        prepare(specification, tmp_path / "raw", tmp_path / "out", image_size=32, source="path")
    assert not (tmp_path / "out").exists()


def test_a_new_file_is_a_new_dataset(repository, tmp_path, specifications):
    source = (repository / "workflow" / "rules" / "datasets" / "acdc.smk").read_text(encoding="utf-8")
    (tmp_path / "mine.smk").write_text(source.replace('"name": "acdc"', '"name": "mine"'), encoding="utf-8")
    assert read_specification(tmp_path / "mine.smk").classes == specifications["acdc"].classes
    assert list(read_specifications(tmp_path)) == ["mine"]


def test_every_partner_and_dataset_of_the_paper_is_in_its_configuration(repository, specifications):
    from spectralseg.config import load_config

    config = load_config(repository / "config" / "config.yaml", specifications)
    for name in list(config.datasets):
        assert set(specifications[name].ood) <= set(config.datasets)
