"""What data looks like between stages, and what a user may say about footage. pydantic and pyarrow only."""

from datasets_spec.errors import DamagedError, LtxError, damaged
from datasets_spec.manifest import Manifest, write_manifest
from datasets_spec.quarantine import Quarantined, QuarantineReason
from datasets_spec.record import Record, location
from datasets_spec.rows import Checkpoint, Clip, Frames, Latent, Media, Published, Registered, Render, Text
from datasets_spec.spec import AudioSpec, DatasetSpec, VideoSpec

__all__ = [
    "AudioSpec",
    "Checkpoint",
    "Clip",
    "DamagedError",
    "DatasetSpec",
    "Frames",
    "Latent",
    "LtxError",
    "Manifest",
    "Media",
    "Published",
    "QuarantineReason",
    "Quarantined",
    "Record",
    "Registered",
    "Render",
    "Text",
    "VideoSpec",
    "damaged",
    "location",
    "write_manifest",
]
