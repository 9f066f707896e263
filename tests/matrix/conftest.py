"""One lane for all tests of the matrix, and the harness's pure-Python modules, which some tests import here."""

import sys
from collections.abc import Iterator

import pytest

from scaffold.lane import EarlyLane
from scaffold_tools.paths import harness_dir

if str(harness_dir()) not in sys.path:
    sys.path.append(str(harness_dir()))


@pytest.fixture(scope="session")
def open_lane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EarlyLane]:
    """Imports are paid for once."""
    with EarlyLane() as lane:
        lane.start(tmp_path_factory.mktemp("lane") / "lane.log")
        yield lane
