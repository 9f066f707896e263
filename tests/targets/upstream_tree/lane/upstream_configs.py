"""A pytest plugin: configs that upstream's tests write by hand get what transformers would add when it reads them.

Such a config (a Mock with a list of names, a SimpleNamespace) has some keys of a config.json. transformers fills in
the rest from the class's defaults and moves some, as `rope_theta` into `rope_parameters`; a bridge never sees a config
that it did not read. Keys that the test wrote keep their values.
"""

import functools
import importlib
import json
import os
from types import SimpleNamespace
from unittest.mock import Mock, NonCallableMock

ASKED = json.loads(os.environ["SCAFFOLD_UPSTREAM"])
METHODS = ("provider_bridge", "hf_config_to_provider_kwargs", "hf_config_to_model_config_kwargs")


def pytest_collection_finish(session):
    """Wrap the methods of the bridge under test that take a config."""
    bridge = getattr(importlib.import_module(ASKED["module"]), ASKED["bridge"])
    for name in METHODS:
        setattr(bridge, name, _completing(getattr(bridge, name)))


def _completing(method):
    @functools.wraps(method)
    def call(self, given):
        if hasattr(given, "config") and not _plain(given):
            return method(self, SimpleNamespace(config=completed(given.config)))
        return method(self, completed(given))

    return call


def _plain(given):
    return isinstance(given, SimpleNamespace) and not hasattr(given, "config")


def completed(config):
    """The config with what transformers adds; itself, where it is one of transformers' own."""
    if isinstance(config, (Mock, NonCallableMock)):
        if config._mock_methods is None:  # it has every name already
            return config
        names = [name for name in config._mock_methods if not name.startswith("_") and hasattr(config, name)]
    elif isinstance(config, SimpleNamespace):
        names = list(vars(config))
    else:
        return config
    from transformers import CONFIG_MAPPING

    told = {name: getattr(config, name) for name in names}
    whole = CONFIG_MAPPING[ASKED["model_type"]](**{key: value for key, value in told.items() if key != "model_type"})
    return _Completed(config, whole)


class _Completed:
    def __init__(self, config, whole):
        self.__dict__.update(_config=config, _whole=whole)

    def __getattr__(self, name):
        if name not in ("rope_scaling", "rope_parameters") and hasattr(self._config, name):
            return getattr(self._config, name)
        return getattr(self._whole, name)
