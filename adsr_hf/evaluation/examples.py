"""A few adversarial images as files: lossless PNG pairs that still break the model when they are read back."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from adsr_hf.attacks import ThreatModel
from adsr_hf.attacks.pgd import LogitsFunction
from adsr_hf.records.files import write_bytes

MOST_EXAMPLES = 12
FOLDER = "examples"


def round_inside(clean: Tensor, adversarial: Tensor, threat: ThreatModel) -> Tensor:
    """The adversarial images in 8 bits, still inside the threat model around the clean ones.

    Values are rounded to the nearest grey level; where that leaves the ball, towards the clean image.

    Args:
        clean: (B, C, H, W), float32, in [0, 1], on whole grey levels, as images from 8-bit files are.
        adversarial: (B, C, H, W), float32, inside the threat model.

    Returns:
        (B, C, H, W), uint8.
    """
    levels, origin = adversarial.double() * 255, clean.double() * 255
    if threat.norm == "Linf":
        reach = np.floor(threat.epsilon * 255 + 1e-6)
        return (origin + (levels - origin).round().clamp(-reach, reach)).round().clamp(0, 255).to(torch.uint8)
    rounded = levels.round()
    outside = (rounded - origin).flatten(1).norm(dim=1) > threat.epsilon * 255
    towards = origin + (levels - origin).trunc()
    return torch.where(outside[:, None, None, None], towards, rounded).round().clamp(0, 255).to(torch.uint8)


def write_examples(
    folder: Path,
    shown: Mapping[str, np.ndarray],
    clean: Tensor,
    labels: Tensor,
    *,
    threat: ThreatModel,
    logits_fn: LogitsFunction,
) -> list[dict[str, Any]]:
    """Write up to :data:`MOST_EXAMPLES` pairs, and say what each shows; those that rounding mends are left out.

    Args:
        folder: of the evaluation; files go to ``examples/`` in it.
        shown: ``index`` (M,) and ``image`` (M, C, H, W), of images that fell.
        clean: (M, C, H, W), float32, in [0, 1]: the same images unharmed.
        labels: (M,), int64.
        logits_fn: of the model, which must be frozen and in eval mode.

    Returns:
        for each pair ``index``, ``label``, ``clean_prediction``, ``adversarial_prediction``, ``threat`` and the two
        paths, relative to ``folder``.
    """
    whole = (clean * 255).round()
    exact = (whole - clean * 255).abs().flatten(1).amax(1) < 1e-2
    unharmed = whole.to(torch.uint8)
    harmed = round_inside(unharmed.float() / 255, torch.from_numpy(shown["image"]).to(clean.device), threat)
    with torch.no_grad():
        before = logits_fn(unharmed.float() / 255).argmax(1)
        after = logits_fn(harmed.float() / 255).argmax(1)
    entries = []
    for row in ((before == labels) & (after != labels) & exact).nonzero().flatten().tolist()[:MOST_EXAMPLES]:
        index = int(shown["index"][row])
        names = {kind: f"{FOLDER}/{index:05d}-{kind}.png" for kind in ("clean", "adversarial")}
        for kind, image in (("clean", unharmed[row]), ("adversarial", harmed[row])):
            write_bytes(folder / names[kind], _png(image))
        entries.append(
            {
                "index": index,
                "label": int(labels[row]),
                "clean_prediction": int(before[row]),
                "adversarial_prediction": int(after[row]),
                "threat": str(threat),
                **names,
            }
        )
    return entries


def _png(image: Tensor) -> bytes:
    array = image.permute(1, 2, 0).cpu().numpy()
    buffer = io.BytesIO()
    Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array).save(buffer, format="PNG")
    return buffer.getvalue()
