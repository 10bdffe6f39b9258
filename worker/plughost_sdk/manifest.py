"""The plugin's own manifest, as the host read and checked it."""

from msgspec import Struct

__all__ = ["Manifest"]


class Manifest(Struct, frozen=True):
    """What the plugin says of itself."""

    id: str
    name: str
    version: str
    description: str = ""
    author: str = ""
    main: str = "plugin.py"
    permissions: list[str] = []
    dependencies: list[str] = []
    services: list[str] = []
    homepage: str = ""
