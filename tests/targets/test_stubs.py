"""Where gaps remain, the certain parts call a marked module of the family's own folder, whose test fails till then."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import pytest

from scaffold_tools.blueprint.facts import Blueprint, Gap
from scaffold_tools.render import Style, lint_many
from scaffold_tools.targets.megatron_bridge.plan import Options, make_plan
from scaffold_tools.workspace.plan import Plan
from targets.blueprints import qwen3, with_fact
from targets.test_rules import PROFILE

HOSTILE = '"""; import os; os.system("x") # \n\x1b[31m'
GAP = Gap("mlp.activation", "no curve fits", "modeling_x.py:1", "what the code does there", "logits.max_abs")
BUILDER = dataclasses.replace(PROFILE, construction="config-builder")


def with_gaps(*gaps: Gap) -> Blueprint:
    return dataclasses.replace(qwen3(), gaps=gaps)


def planned(blueprint: Blueprint, *, with_stubs: bool = True, profile=PROFILE) -> Plan:
    options = Options(year=2026, with_stubs=with_stubs)
    return make_plan(blueprint, root=Path("/nowhere"), profile=profile, options=options)


def texts(plan: Plan) -> dict[str, str]:
    return {change.path: change.content for change in plan.changes}


def test_nothing_changes_without_gaps_or_without_the_wish() -> None:
    assert planned(qwen3()) == planned(qwen3(), with_stubs=False)
    assert planned(with_gaps(GAP), with_stubs=False).stub is None
    assert texts(planned(with_gaps(GAP), with_stubs=False)) == texts(planned(qwen3()))


@pytest.mark.parametrize("profile", [PROFILE, BUILDER], ids=["provider", "builder"])
def test_the_bridge_hands_over_to_the_marked_module_at_its_end(profile) -> None:
    plan = planned(with_gaps(GAP), profile=profile)
    files = texts(plan)
    assert plan.stub == "scaffold_qwen3/qwen3_gaps.py"
    bridge = files["scaffold_qwen3/qwen3_bridge.py"]
    hook = "complete_config_kwargs(config_kwargs, hf_config)" if profile is BUILDER else "complete_provider(provider"
    assert f"return {hook}" in bridge
    assert "MegatronMappingRegistry(*complete_mappings(mapping_list))" in bridge
    made = {node.name for node in ast.parse(files[plan.stub]).body if isinstance(node, ast.FunctionDef)}
    assert made == {hook.split("(")[0], "complete_mappings"}


def test_a_row_says_where_it_shows_what_to_write_and_what_tells() -> None:
    plan = planned(with_gaps(GAP))
    assert plan.stub is not None
    text = texts(plan)[plan.stub]
    for words in ("Shown by: modeling_x.py:1", "To write: what the code does there", "passes: logits.max_abs"):
        assert f"# {words}" in text or words in text
    assert '("mlp.activation", "no curve fits"),' in text


def test_the_test_of_the_family_fails_until_the_last_row_is_gone() -> None:
    files = texts(planned(with_gaps(GAP)))
    stub, test = files["scaffold_qwen3/qwen3_gaps.py"], files["tests/test_qwen3_gaps.py"]
    body = next(node for node in ast.parse(test).body if isinstance(node, ast.FunctionDef))
    check = compile(ast.Module([body], []), "test", "exec")
    rows = next(node for node in ast.parse(stub).body if isinstance(node, ast.Assign))
    for value, fails in ((ast.literal_eval(rows.value), True), ((), False)):
        space = {"OPEN_GAPS": value}
        exec(check, space)
        if fails:
            with pytest.raises(AssertionError, match=r"mlp\.activation: no curve fits"):
                space["test_nothing_is_left_open"]()
        else:
            space["test_nothing_is_left_open"]()


def test_hostile_words_of_a_gap_stay_words() -> None:
    plan = planned(with_gaps(Gap(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE)))
    assert plan.stub is not None
    tree = ast.parse(texts(plan)[plan.stub])
    assert [type(node).__name__ for node in tree.body[-3:]] == ["Assign", "FunctionDef", "FunctionDef"]
    assert ast.literal_eval(tree.body[-3].value) == ((HOSTILE, HOSTILE),)


def test_what_is_planned_passes_the_target_linter() -> None:
    blueprint = dataclasses.replace(with_fact(qwen3(), "residual.multiplier", 0.5), gaps=(GAP,))
    files = {path: text for path, text in texts(planned(blueprint)).items() if path.endswith(".py")}
    own = dataclasses.replace(Style(), known_first_party=("megatron.bridge", "scaffold_qwen3"))
    assert lint_many(files, own) == ()
