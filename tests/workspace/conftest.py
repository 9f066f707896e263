import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Locks go to a cache of the test, not of the user."""
    monkeypatch.setenv("SCAFFOLD_CACHE", str(tmp_path_factory.mktemp("cache")))
