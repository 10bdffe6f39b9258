"""`api.users`: who the users are, and what they prefer."""

from typing import Any

import msgspec
from msgspec import Struct

from .link import HostPart

__all__ = ["User", "Users"]


class User(Struct, frozen=True):
    """Somebody for whom the application works."""

    id: str
    name: str
    email: str = ""

    def __str__(self) -> str:
        return self.name or self.id


class Users(HostPart):
    """Needs the permission `users:read`. Without `user_id` the running call's user is meant."""

    async def get(self, user_id: str | None = None) -> User:
        """The user. Raises `HostError` with the codes `unknown_user` and `store_failed`."""
        found = await self._link.request("users.get", {"user_id": user_id or ""})
        return msgspec.convert(found, User)

    async def get_preferences(self, user_id: str | None = None) -> dict[str, Any]:
        """What the user prefers, by name. Raises as `get` does."""
        params = {"user_id": user_id or ""}
        preferences: dict[str, Any] = await self._link.request("users.get_preferences", params)
        return preferences
