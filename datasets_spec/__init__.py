"""The form of data between stages, and the options of footage. pydantic and pyarrow only.

A name's module is imported when the name is first asked for: errors are raised where neither library is installed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets_spec.errors import DamagedError as DamagedError
    from datasets_spec.errors import LtxError as LtxError
    from datasets_spec.errors import damaged as damaged
    from datasets_spec.manifest import Manifest as Manifest
    from datasets_spec.manifest import manifest_table as manifest_table
    from datasets_spec.manifest import rows_digest as rows_digest
    from datasets_spec.quarantine import Quarantined as Quarantined
    from datasets_spec.quarantine import QuarantineReason as QuarantineReason
    from datasets_spec.rows import Caption as Caption
    from datasets_spec.rows import Checkpoint as Checkpoint
    from datasets_spec.rows import Clip as Clip
    from datasets_spec.rows import Frames as Frames
    from datasets_spec.rows import Latent as Latent
    from datasets_spec.rows import Media as Media
    from datasets_spec.rows import Published as Published
    from datasets_spec.rows import Record as Record
    from datasets_spec.rows import Registered as Registered
    from datasets_spec.rows import Render as Render
    from datasets_spec.rows import Text as Text
    from datasets_spec.spec import AudioSpec as AudioSpec
    from datasets_spec.spec import CaptionSpec as CaptionSpec
    from datasets_spec.spec import DatasetSpec as DatasetSpec
    from datasets_spec.spec import VideoSpec as VideoSpec

_MODULES = {
    "errors": "DamagedError LtxError damaged",
    "manifest": "Manifest manifest_table rows_digest",
    "quarantine": "Quarantined QuarantineReason",
    "rows": "Caption Checkpoint Clip Frames Latent Media Published Record Registered Render Text",
    "spec": "AudioSpec CaptionSpec DatasetSpec VideoSpec",
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names.split()}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """The name, from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module 'datasets_spec' has no attribute {name!r}")
    return getattr(import_module(f"datasets_spec.{_HOMES[name]}"), name)
