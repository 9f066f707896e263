"""The profile is read from source: of the installed package, and of a checkout where one is given."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from scaffold_tools.errors import BadInput
from scaffold_tools.targets.megatron_bridge.naming import names_of
from scaffold_tools.targets.megatron_bridge.profile import read_profile
from scaffold_tools.targets.megatron_bridge.rules import settle
from targets.blueprints import qwen3
from targets.provider_fields import DENSE

USED = (*DENSE, "hidden_dropout", "attention_dropout", "autocast_dtype")


@pytest.fixture(scope="module")
def site_packages() -> Path:
    from scaffold_tools.verify.lane_env import ensure_lane

    python = Path(ensure_lane(install=False).python)
    asked = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(asked.stdout.strip())


@pytest.mark.lane
def test_the_installed_package_is_read_without_importing_it(site_packages):
    profile = read_profile(site_packages)
    assert profile.layout == "package"
    assert set(USED) <= profile.provider_fields, "every attribute that rules emit exists: none is a phantom"
    assert "qk_layernrom" not in profile.provider_fields
    assert ("rms_norm_eps", "layernorm_epsilon") in profile.config_mapping
    assert {"QKVMapping", "GatedMLPMapping", "ConcatenatedQKVMapping"} <= profile.mapping_classes
    registration = profile.registration("Qwen3ForCausalLM")
    assert registration is not None
    assert registration.name == "megatron.bridge.models.qwen.qwen3_bridge:Qwen3Bridge"
    assert registration.by == "class"
    assert {row.by for row in profile.registrations} == {"class", "string"}
    assert profile.registration("NoSuchForCausalLM") is None


@pytest.mark.lane
def test_a_model_joins_the_family_that_its_name_continues(site_packages):
    profile = read_profile(site_packages)
    assert names_of(qwen3(), profile).family == "qwen"
    assert not settle(qwen3(), profile).gaps


def test_a_folder_that_is_no_megatron_bridge_is_refused_in_one_line(tmp_path):
    with pytest.raises(BadInput, match="is not a Megatron-Bridge"):
        read_profile(tmp_path)


def test_one_that_is_too_old_is_refused(tmp_path):
    conversion = tmp_path / "src/megatron/bridge/models/conversion"
    conversion.mkdir(parents=True)
    (conversion / "model_bridge.py").write_text("class MegatronModelBridge:\n    pass\n")
    with pytest.raises(BadInput, match="too old"):
        read_profile(tmp_path)


def test_source_that_does_not_parse_is_refused(tmp_path):
    conversion = tmp_path / "src/megatron/bridge/models/conversion"
    conversion.mkdir(parents=True)
    (conversion / "model_bridge.py").write_text("class (:\n")
    with pytest.raises(BadInput, match="cannot be parsed"):
        read_profile(tmp_path)


@pytest.mark.lane
@pytest.mark.skipif("SCAFFOLD_MB_REPO" not in os.environ, reason="SCAFFOLD_MB_REPO names no checkout")
def test_a_checkout_is_read(site_packages):
    profile = read_profile(Path(os.environ["SCAFFOLD_MB_REPO"]), lane_site_packages=site_packages)
    assert profile.layout == "checkout"
    assert set(USED) <= profile.provider_fields
    assert profile.registration("Qwen3ForCausalLM") is not None
