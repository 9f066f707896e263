"""Skills cannot rot: every command, option, path, name, exit code and link in them is there, today."""

from __future__ import annotations

from pathlib import Path

import pytest

from .markdown import Page, page, pages
from .resolver import ROOT, command_problem, problems

pytestmark = pytest.mark.lane
SKILLS = sorted(path.parent for path in (ROOT / "skills").glob("*/SKILL.md"))
BASE = ROOT / "skills" / "closing-a-gap" / "SKILL.md"


@pytest.mark.parametrize("skill", SKILLS, ids=lambda path: path.name)
def test_everything_that_a_skill_names_exists(skill: Path) -> None:
    found = {text.path.relative_to(ROOT).as_posix(): bad for text in pages(skill) if (bad := problems(text))}
    assert not found


def wrong(text: str) -> list[str]:
    """The problems of a page with this text, in the place of a real one."""
    return problems(page(ROOT / "skills" / "adding-roll-model" / "SKILL.md", text))


CONTROLS = {
    "an option": ("```bash\nscaffold verify --locale\n```", "no option --locale"),
    "a command": ("```bash\nscaffold prove MODEL\n```", "no command 'prove'"),
    "a sub-command": ("```bash\nscaffold skills add DIR\n```", "no command 'add'"),
    "too many arguments": ("```bash\nscaffold verify one two\n```", "takes 1 arguments"),
    "a script": ("```bash\npython scripts/compare.py TOY\n```", "not ours"),
    "an option of a script": ("```bash\npython scripts/compare_logits.py TOY --rolls PATH\n```", "--rolls"),
    "a name of another project": ("```python\nfrom ..converter.template import QKVOp\n```", "QKVOp"),
    "another program": ("```bash\nrm -rf scaffold_x\n```", "not ours"),
    "an option in the text": ("Use `--with-stub`.", "--with-stub"),
    "a command in the text": ("Use `scaffold new-model LINK --repro PATH`.", "--repro"),
    "a path of ours": ("See `docs/check.md`.", "docs/check.md"),
    "a path upstream": ("See `src/megatron/bridge/models/conversions`.", "conversions"),
    "a file of the run folder": ("Read `.scaffold/<model>/blueprints.json`.", "blueprints.json"),
    "a mapping class": ("Take `ExpertMLPGateUpProjMapping`.", "ExpertMLPGateUpProjMapping"),
    "a provider field": ("Set `rotary_interleave`.", "rotary_interleave"),
    "a fact": ("Look at `rope.pair`.", "rope.pair"),
    "a check": ("Look at `logits.max`.", "logits.max"),
    "a field of a value": ("Read `evidence.cheques`.", "evidence.cheques"),
    "a message": ("It says `tensor ... is used, but no rule knows it`.", "no rule knows it"),
    "an exit code": ("It ends with exit code 7.", "exit code 7"),
    "a link": ("See [this](references/missing.md).", "references/missing.md"),
    "a link outwards": ("See [this](https://example.org/x).", "offline"),
    "a mark": ("```bash maybe\nscaffold doctor\n```", "bash maybe"),
    "an import": ("```python\nfrom megatron.bridge.models.gpt_provider import GPTProvider\n```", "GPTProvider"),
    "a module": ("```python\nfrom megatron.bridge.models.gpt_providers import X\n```", "no module"),
    "an attribute": ("```python\nprovider.window = 3\n```", "provider.window"),
    "Python": ("```python\ndef f(:\n```", "does not parse"),
}


@pytest.mark.parametrize("name", CONTROLS)
def test_a_skill_with_one_wrong_name_is_rejected(name: str) -> None:
    text, part = CONTROLS[name]
    found = wrong(text)
    assert len(found) == 1
    assert part in found[0]


def test_a_right_page_has_no_problems() -> None:
    """The controls above fail for their mistake, not because everything does."""
    text = "Use `scaffold verify --locate`, `--with-stubs`, `rope.pairing`, `QKVMapping`, exit code 3."
    assert wrong(text + "\n\n```bash\nscaffold verify MODEL --json\n```\n") == []


def test_options_that_take_a_value_swallow_it() -> None:
    assert command_problem("scaffold plan --blueprint FILE") is None
    assert command_problem("scaffold plan --blueprint") == "--blueprint wants a value"
    assert command_problem("scaffold plan LINK --blueprint FILE extra") is not None


def test_pages_are_read_with_their_marks() -> None:
    read: Page = page(BASE, "---\nname: x\n---\n`a`\n\n```bash run\nscaffold doctor   # exit 5\n```\n")
    assert read.spans == ("a",)
    assert [block.info for block in read.blocks] == ["bash run"]
    assert read.exit_codes == (5,)
