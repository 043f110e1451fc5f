import sys
from types import ModuleType

import pytest

from spectralseg import registry
from spectralseg.errors import InputError


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "shelf"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "alpha.py").write_text("value = 1\n")
    (folder / "beta.py").write_text("raise RuntimeError('imported')\n")
    (folder / "_private.py").write_text("")
    (folder / "notes.txt").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    yield "shelf"
    for name in [name for name in sys.modules if name.split(".")[0] == "shelf"]:
        del sys.modules[name]


def test_public_modules_are_the_entries_and_listing_imports_none(package):
    assert registry.names(package) == ["alpha", "beta"]
    assert f"{package}.alpha" not in sys.modules


def test_a_new_file_is_a_new_entry(package, tmp_path):
    (tmp_path / "shelf" / "gamma.py").write_text("")
    assert registry.names(package) == ["alpha", "beta", "gamma"]


def test_an_entry_is_loaded_by_name(package):
    module = registry.load(package, "alpha", "thing")
    assert isinstance(module, ModuleType)
    assert module.value == 1


@pytest.mark.parametrize("name", ["alhpa", "_private", "alpha.x", "", "../alpha", "os"])
def test_anything_else_is_refused_with_the_valid_names(package, name):
    with pytest.raises(InputError, match=r"is unknown; .*valid: alpha, beta"):
        registry.load(package, name, "thing")


def test_the_nearest_name_is_suggested_and_only_a_near_one():
    assert registry.suggest("alhpa", ["alpha", "beta"]) == "did you mean 'alpha'? valid: alpha, beta"
    assert registry.suggest("zzz", ["alpha", "beta"]) == "valid: alpha, beta"


@pytest.mark.parametrize("name", ["os", "spectralseg.errors", "no_such_package_at_all"])
def test_what_is_no_package_cannot_be_listed(name):
    with pytest.raises(ModuleNotFoundError):
        registry.names(name)
