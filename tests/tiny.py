"""Real classes at tiny size: a FLUX pipeline with its tokenizers, and adapters for it."""

from __future__ import annotations

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

from dynaip.adapter.config import DynaIPConfig
from dynaip.adapter.model import DynaIPAdapter

WORDS = ["a red dog sits on the beach", "a blue mug in the snow"]
SIZE = 32  # pixels; a token is 4 of them


def tokenizer(length: int = 12) -> PreTrainedTokenizerFast:
    plain = Tokenizer(models.WordLevel(unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(special_tokens=["<pad>", "</s>", "<unk>"])
    plain.train_from_iterator(WORDS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=plain,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=length,
    )


def image_encoder() -> CLIPVisionModel:
    torch.manual_seed(3)
    config = CLIPVisionConfig(
        hidden_size=24,
        intermediate_size=24,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=16,
        patch_size=4,
    )
    return CLIPVisionModel(config).eval()


def pipeline(guidance_embeds: bool = True) -> FluxPipeline:
    torch.manual_seed(0)
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=guidance_embeds,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=2,
        sample_size=SIZE,
        use_quant_conv=False,
        use_post_quant_conv=False,
        shift_factor=0.0,
        scaling_factor=1.0,
    )
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=32,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=12,
            eos_token_id=1,
            bos_token_id=0,
            pad_token_id=0,
        )
    )
    text_encoder_2 = T5EncoderModel(
        T5Config(vocab_size=32, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    )
    pipe = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=vae.eval(),
        text_encoder=text_encoder.eval(),
        tokenizer=tokenizer(),
        text_encoder_2=text_encoder_2.eval(),
        tokenizer_2=tokenizer(),
        transformer=transformer.eval(),
        image_encoder=image_encoder(),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def config(**changes: object) -> DynaIPConfig:
    values = {
        "encoder": "tiny/encoder",
        "encoder_dim": 24,
        "layers": (1, 2, 3),
        "token_dim": 20,
        "router_dim": 8,
        "double_blocks": 2,
        "single_blocks": 2,
        "heads": 2,
        "head_dim": 16,
    }
    return DynaIPConfig(**{**values, **changes})  # pyright: ignore[reportArgumentType]


def adapter(**changes: object) -> DynaIPAdapter:
    """An adapter with loud weights everywhere, so that whatever it does is seen."""
    torch.manual_seed(1)
    made = DynaIPAdapter(config(**changes)).eval()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.4)
    return made


def record_moves(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """From now on modules stay, and where they were to go is noted; pipelines compute `there`."""
    moved: list[tuple[str, ...]] = []

    def to(module: torch.nn.Module, *where: str, **how: object) -> torch.nn.Module:
        moved.append((type(module).__name__, *where))
        return module

    monkeypatch.setattr(torch.nn.Module, "to", to)
    monkeypatch.setattr("dynaip.pipeline.references.execution_device", lambda pipe: "there")
    return moved
