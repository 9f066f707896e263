import pytest

from scaffold_tools.errors import ScaffoldError
from scaffold_tools.render import Style, format_many, format_python, lint_many, lint_python

MESSY = "import torch\nfrom megatron.bridge.models.x import b, a\nimport os\nfrom megatron.core import z\n"
MESSY += "x = {'k': [os, torch, a, b, z]}\n"
NEAT = """import os

import torch
from megatron.core import z

from megatron.bridge.models.x import a, b


x = {"k": [os, torch, a, b, z]}
"""


def test_imports_are_sorted_into_the_targets_sections_and_code_is_formatted():
    assert format_python(MESSY) == NEAT
    assert format_python(NEAT) == NEAT


def test_another_target_sorts_by_its_own_first_party():
    text = format_python(
        "import aphrodite\nimport torch\nx = aphrodite, torch\n",
        known_first_party=("aphrodite",),
        lines_after_imports=1,
    )
    assert text == "import torch\n\nimport aphrodite\n\nx = aphrodite, torch\n"


def test_long_data_is_wrapped():
    text = format_python("x = " + repr({f"key_{index}": [index] * 8 for index in range(9)}) + "\n")
    assert max(map(len, text.splitlines())) <= 119


def test_what_the_targets_linter_selects_is_found_and_nothing_else():
    found = lint_python("import os\n\n\nclass A:\n    pass\n")
    assert {finding.code for finding in found} == {"F401", "D101"}
    assert {finding.code for finding in lint_python(MESSY)} == {"I001", "format"}
    assert lint_python(NEAT) == ()


def test_rules_that_spare_tests_and_inits_spare_them():
    text = "import os\n\n\nclass A:\n    pass\n"
    files = {"tests/unit/test_a.py": text, "m/__init__.py": text, "m/modeling_x.py": text}
    found = {(finding.path, finding.code) for finding in lint_many(files)}
    assert found == {("tests/unit/test_a.py", "F401"), ("m/__init__.py", "D101"), ("m/modeling_x.py", "F401")}


def test_many_files_keep_their_names_and_line_ends():
    files = {"a/x.py": MESSY, "-b.py": "x=1\r\n"}
    assert format_many(files) == {"a/x.py": NEAT, "-b.py": "x = 1\r\n"}
    assert format_many({}) == {}


def test_a_file_that_does_not_parse_or_lies_outside_is_one_clear_error():
    with pytest.raises(ScaffoldError, match="ruff cannot read"):
        format_python("def f(:\n")
    with pytest.raises(ScaffoldError, match="not a path"):
        format_many({"../x.py": "x = 1\n"})
    assert lint_python("def f(:\n")


def test_settings_are_written_as_data():
    assert '"a\\"b"' in Style(known_first_party=('a"b',)).toml()
