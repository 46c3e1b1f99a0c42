"""A reward in TRL's own DDPO trainer, on a diffusion model so small that it trains nothing: does the call fit?

pip install "mpiqe[train]" "trl==0.12.2" "diffusers<0.33" "transformers<4.50"; later versions of TRL have no DDPO.
"""

import tempfile
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizerFast
from trl import DDPOConfig, DDPOTrainer, DefaultDDPOStableDiffusionPipeline

import mpiqe

WEIGHTS = Path(mpiqe.__file__).parent / "weights"


def tiny_diffusion(folder: str) -> None:
    """Save a Stable Diffusion pipeline of random weights, with the words of mpiqe's own compact CLIP."""
    torch.manual_seed(0)
    tokenizer = CLIPTokenizerFast.from_pretrained(WEIGHTS / "backbone")
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=2,
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    blocks = {"block_out_channels": (32, 64), "norm_num_groups": 8}
    StableDiffusionPipeline(
        vae=AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, **blocks
        ),
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(
            sample_size=32,
            layers_per_block=1,
            cross_attention_dim=32,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            **blocks,
        ),
        scheduler=DDIMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)


def main() -> None:
    """Train for one epoch of four images."""
    reward = mpiqe.reward(runtime="torch", device="cpu", normalize=True)

    def printed(images, prompts, metadata):
        scores, more = reward(images, prompts, metadata)
        print(f"reward of {tuple(images.shape)} {images.dtype}, {len(prompts)} prompts:", scores.round(3), more)
        return scores, more

    with tempfile.TemporaryDirectory() as folder:
        tiny_diffusion(folder)
        config = DDPOConfig(
            num_epochs=1,
            sample_num_steps=2,
            sample_batch_size=2,
            sample_num_batches_per_epoch=2,
            train_batch_size=2,
            mixed_precision="no",
            allow_tf32=False,
            log_with=None,
            save_freq=100,
            project_kwargs={"project_dir": folder},
        )
        pipeline = DefaultDDPOStableDiffusionPipeline(folder, use_lora=False)
        trainer = DDPOTrainer(config, printed, lambda: ("a photo", {}), pipeline)
        before = {name: weight.detach().clone() for name, weight in pipeline.unet.named_parameters()}
        trainer.train()
        moved = max((weight - before[name]).abs().max().item() for name, weight in pipeline.unet.named_parameters())
        print(f"the generator moved by up to {moved:.1e}")


if __name__ == "__main__":
    main()
