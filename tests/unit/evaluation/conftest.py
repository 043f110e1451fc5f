import pytest


@pytest.fixture(scope="package")
def partner(tmp_path_factory, prepare_cases, toy_cases, toy_specification):
    """An out-of-distribution dataset similar to ``toy``."""
    specification = toy_specification(name="other", split={"everything": "test"})
    return prepare_cases(tmp_path_factory.mktemp("other") / "other", toy_cases(4, 50, "x"), specification)
