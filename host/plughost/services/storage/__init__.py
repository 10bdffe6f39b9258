"""Where plugins' values are kept: a small protocol, and the stores that keep it."""

from plughost.config import HostConfig
from plughost.services.storage.redis import RedisStore
from plughost.services.storage.sqlite import SqliteStore
from plughost.services.storage.store import Store

__all__ = ["RedisStore", "SqliteStore", "Store", "make_store"]


def make_store(config: HostConfig) -> Store:
    """The store that the operator has chosen. Raises `HostMisuse` where it cannot be."""
    if config.storage.url:
        return RedisStore(config.storage.url)
    return SqliteStore(config.state / "storage.db")
