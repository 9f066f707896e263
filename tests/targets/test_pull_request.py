"""A repository's own pull-request template, filled: their headings, their boxes, our figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from scaffold_tools.targets.megatron_bridge.pull_request import Words, fill_template, title
from scaffold_tools.workspace.plan import Change, Plan

TEMPLATE = """# What does this PR do ?

Add a one line overview of what this PR aims to accomplish.

# Changelog

- Add specific line by line info of high level changes in this PR.

# CI

See the CI section.

# Before your PR is "Ready for review"

- [ ] Make sure you read and followed Contributor guidelines
- [ ] Did you write any new necessary tests?
- [ ] Did you add or update any necessary documentation?
- [ ] Does the PR affect components that are optional to install?
  - [ ] Reviewer: Does the PR have correct import guards?

# Additional Information

- Related to # (issue)
"""

REQUEST = """name: Model support request
body:
  - type: dropdown
    attributes:
      options:
        - label: not a deliverable
  - type: checkboxes
    id: deliverables
    attributes:
      options:
        - label: HF conversion bridge
        - label: Optimal pretraining recipe
        - label: Recipe unit tests
        - label: A thing that nobody knows
  - type: input
    attributes:
      label: Owner if known
"""

WORDS = Words("Adds Fjord.", ("`a.py`: the bridge", "`b.py`: tests"), "## Measured\n\n- [x] logits")


def plan(*paths: str) -> Plan:
    return Plan("t", "checkout", ".", "p", tuple(Change(path, "create", "", "s") for path in paths))


BRIDGE = "src/megatron/bridge/models/fjord/fjord_bridge.py"
TESTS = "tests/unit_tests/models/fjord/test_fjord_bridge.py"
DOCS = "docs/models/fjord/fjord.md"
RECIPE = "src/megatron/bridge/recipes/fjord/fjord_8b.py"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path, text in (
        (".github/PULL_REQUEST_TEMPLATE.md", TEMPLATE),
        (".github/ISSUE_TEMPLATE/model_support_request.yml", REQUEST),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def filled(root: Path, *paths: str) -> str:
    text = fill_template(root, plan(*paths), WORDS)
    assert text is not None
    return text


def test_their_sections_hold_our_words_and_instructions_are_gone(root: Path) -> None:
    text = filled(root, BRIDGE)
    assert "# What does this PR do ?\n\nAdds Fjord.\n" in text
    assert "# Changelog\n\n- `a.py`: the bridge\n- `b.py`: tests\n" in text
    assert "Add a one line overview" not in text and "Add specific line" not in text
    assert "# CI\n\nSee the CI section." in text, "what no row knows stays"
    assert text.index("# Additional Information") < text.index("## Measured") < text.index("Related to #")


def test_boxes_are_ticked_by_files_alone(root: Path) -> None:
    text = filled(root, BRIDGE, TESTS, DOCS)
    assert "- [x] Did you write any new necessary tests?" in text
    assert "- [x] Did you add or update any necessary documentation?" in text
    assert "- [ ] Make sure you read" in text, "nobody can know this from a plan"
    assert "- [ ] Does the PR affect components" in text and "  - [ ] Reviewer" in text
    bare = filled(root, BRIDGE)
    assert "- [ ] Did you write any" in bare and "- [ ] Did you add or update" in bare


def test_deliverables_of_a_support_request_are_answered(root: Path) -> None:
    text = filled(root, BRIDGE, RECIPE)
    assert "- [x] HF conversion bridge\n" in text
    assert "- [ ] Optimal pretraining recipe: a recipe by rule" in text, "optimal is not for us to say"
    assert "- [ ] Recipe unit tests\n" in text and "- [ ] A thing that nobody knows\n" in text
    assert "not a deliverable" not in text and "Owner" not in text


def test_without_a_place_for_figures_they_come_last(root: Path) -> None:
    (root / ".github/PULL_REQUEST_TEMPLATE.md").write_text("## Summary\n\nwrite here\n")
    (root / ".github/ISSUE_TEMPLATE/model_support_request.yml").unlink()
    listed = "## Files\n\n- `a.py`: the bridge\n- `b.py`: tests\n"
    assert filled(root, BRIDGE) == f"## Summary\n\nAdds Fjord.\n\n{listed}\n## Measured\n\n- [x] logits\n"


def test_a_repository_without_a_template_has_none(tmp_path: Path) -> None:
    assert fill_template(tmp_path, plan(BRIDGE), WORDS) is None


def test_the_title_is_a_conventional_commit() -> None:
    assert title("Fjord") == "feat(model): add Fjord support"
