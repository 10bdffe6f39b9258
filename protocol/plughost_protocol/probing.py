"""What the doctor asks of an interpreter of its own, and what that finds out.

Both are trusted and of one version.
"""

from typing import Final

import msgspec
from msgspec import Struct

from .confinement import Confinement, TemplateConfinement

__all__ = ["Finding", "ProbeRequest", "decode_findings"]


class ProbeRequest(Struct, frozen=True, array_like=True):
    """The layers to try: each alone, then all together in the order of a real start."""

    template: TemplateConfinement
    worker: Confinement
    working_folder: str


class Finding(Struct, frozen=True, array_like=True):
    """What one probe found."""

    probe: str
    ok: bool
    action: str = ""
    """What was refused, or what did not hold."""
    errno: int = 0
    """0 where nothing was refused, and yet the layer did not hold."""
    layer: str = ""
    """The layer of what was refused, which may be another than the one that was tried."""
    skipped: str = ""
    """Why there was nothing to try."""
    notes: tuple[str, ...] = ()
    """What was shown beyond that the calls succeed."""


decode_findings: Final = msgspec.msgpack.Decoder(list[Finding]).decode
