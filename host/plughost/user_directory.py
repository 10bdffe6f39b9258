"""What an application may put in the place of plughost's own table of users."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["User", "UserDirectory"]


@dataclass(frozen=True, slots=True)
class User:
    """Somebody for whom plugins work."""

    id: str
    name: str = ""
    email: str = ""
    preferences: Mapping[str, Any] = field(default_factory=dict)
    """What JSON can hold, under names."""


class UserDirectory(Protocol):
    """An application's own users."""

    async def get(self, user_id: str) -> User | None:
        """The user with this id, or None where there is none."""
