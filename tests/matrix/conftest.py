"""The lane, and the harness's pure-Python modules: scripts of another environment that some tests import here."""

import sys

from scaffold_tools.paths import harness_dir
from support.lane_fixture import lane

__all__ = ["lane"]

if str(harness_dir()) not in sys.path:
    sys.path.append(str(harness_dir()))
