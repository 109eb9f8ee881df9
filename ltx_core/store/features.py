"""Features as they are stored: bfloat16 without loss in about 11 bits a value, so that a caption stays under 2 MB.

A value's upper byte (sign and most of the exponent) takes few of its 256 values and is Huffman coded; the lower one is
all but random and kept. LTX-2.3's two sets of features take 1.7 MB for 200 tokens so, and 2.5 MB as they are.
"""

import zlib
from collections.abc import Mapping

import torch
from torch import Tensor

from ltx_core.errors import DataError

LOW, HIGH = ".low", ".high"
RAW_DEFLATE = -15
"""zlib's name for a stream without header, with the largest window."""


def store_features(features: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Features [S, D] in bfloat16 to `NAME.low` [S, D] and `NAME.high` [n], both bytes, for each name.

    Raises:
        DataError: features are not bfloat16.
    """
    stored = {}
    for name, values in features.items():
        if values.dtype != torch.bfloat16:
            raise DataError(f"{name} are {values.dtype}; bfloat16 is wanted")
        planes = values.contiguous().view(torch.uint8).unflatten(-1, (-1, 2))
        stored[name + LOW] = planes[..., 0].contiguous()
        coder = zlib.compressobj(level=1, wbits=RAW_DEFLATE, strategy=zlib.Z_HUFFMAN_ONLY)
        upper = planes[..., 1].contiguous().numpy()
        stored[name + HIGH] = torch.frombuffer(bytearray(coder.compress(upper) + coder.flush()), dtype=torch.uint8)
    return stored


def stored_features(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `store_features`; bit for bit.

    Raises:
        DataError: the item was stored in another way.
    """
    names = [name.removesuffix(LOW) for name in stored if name.endswith(LOW)]
    if not names or {name + HIGH for name in names} | {name + LOW for name in names} != stored.keys():
        raise DataError(f"an item of {sorted(stored)} holds no text features of this version; run from `embed_text`")
    features = {}
    for name in names:
        low = stored[name + LOW]
        try:
            upper = bytearray(zlib.decompress(stored[name + HIGH].numpy().tobytes(), RAW_DEFLATE))
        except zlib.error as error:
            raise DataError(f"{name} of a caption cannot be unpacked ({error}); run from `embed_text`") from error
        high = torch.frombuffer(upper, dtype=torch.uint8).view(low.shape)
        features[name] = torch.stack([low, high], dim=-1).flatten(-2).view(torch.bfloat16)
    return features
