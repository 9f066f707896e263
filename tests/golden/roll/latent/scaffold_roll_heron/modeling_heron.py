from mcore_adapter.models.auto.modeling_auto import register_model
from mcore_adapter.models.model_config import MLAMcaModelConfig
from mcore_adapter.models.model_factory import McaGPTModel
from scaffold_roll_heron.modules_heron import heron_block_spec


@register_model("heron")
class HeronModel(McaGPTModel):
    """Heron on Megatron Core."""

    config_class = MLAMcaModelConfig

    def _get_transformer_layer_spec(self, config: MLAMcaModelConfig | None = None):
        config = config or self.config
        assert config.transformer_impl == "transformer_engine", "Heron has modules of Transformer Engine alone"
        return heron_block_spec(config, vp_stage=self.vp_stage)
