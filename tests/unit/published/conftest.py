from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def published():
    return REPOSITORY / "config" / "published" / "harmonized"


@pytest.fixture(scope="session")
def repository():
    return REPOSITORY
