"""A vision encoder for CREPA, which the small world has none of: a DINOv2 of toy width that learnt to see its objects.

A released DINOv2 knows nothing of 4 x 3 places of flat colour and cannot be had without the network. This one is
trained for seconds on random frames to tell, at each patch, how much of it an object covers, the object's colour, and
its shape. Its features at a place then say what is there, as those of a real encoder do.
"""

import contextlib
import io
import random
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, mse_loss
from transformers import Dinov2Config, Dinov2Model

from ltx_core.tiny.world import AUDIO, COLOURS, SHAPES, all_specs, codes, draw, scene

IMAGE_SIZE, PATCH, WIDTH = 56, 14, 48
STEPS, BATCH = 200, 16
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""DINOv2's normalisation of RGB in [0, 1]."""


def write_encoder(folder: Path) -> float:
    """Train it, write it in transformers' layout, and return the last loss, the mean square of targets around 0 to 1.

    Colours and shapes include the unseen ones, as the photographs of a real encoder do.
    """
    config = Dinov2Config(
        hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=4, image_size=IMAGE_SIZE, patch_size=PATCH
    )
    with torch.random.fork_rng(devices=[]), contextlib.redirect_stderr(io.StringIO()):
        torch.manual_seed(0)
        model, head = Dinov2Model(config), torch.nn.Linear(WIDTH, 4 + len(SHAPES))
        parameters = [*model.parameters(), *head.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=2e-3)
        generator = torch.Generator().manual_seed(0)
        loss = torch.zeros(())
        for step in range(STEPS):
            images, targets = _batch(step, generator)
            hidden = model(pixel_values=images).last_hidden_state[:, 1:]
            loss = mse_loss(head(hidden), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        model.save_pretrained(folder)
    return float(loss.detach())


def _batch(step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Normalised images [B, 3, S, S] and targets [B, patches, 4 + shapes]: coverage, colour, shape."""
    specs = random.Random(step).sample(all_specs(list(SHAPES), list(AUDIO)[:1], list(COLOURS)), BATCH)
    named = codes(specs)
    placed = scene(named, generator)
    frame = int(torch.randint(placed.radius.shape[2], (), generator=generator))
    moments = {name: getattr(placed, name)[:, :, frame : frame + 1] for name in ("centre", "radius", "angle")}
    pixels, covered = draw(placed._replace(**moments))
    square = (IMAGE_SIZE, IMAGE_SIZE)
    images = interpolate(pixels[:, :, 0], square, mode="bilinear", antialias=True) / 2 + 0.5
    mask = avg_pool2d(interpolate(covered[:, :, 0], square, mode="bilinear", antialias=True), PATCH)
    mask = mask.flatten(1)[..., None]
    shape = torch.nn.functional.one_hot(named.shapes[:, 0], len(SHAPES)).float()[:, None]
    colour = placed.colour[:, :1]
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (images - mean) / std, torch.cat([mask, mask * colour, mask * shape], -1)
