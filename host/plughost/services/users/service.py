"""The host service `users`: who the users are, and what they prefer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from plughost.errors import PlughostError
from plughost.service_config import UsersConfig
from plughost.services.router import Request, ServiceMethod
from plughost.services.service import HostService
from plughost.services.store_errors import told_to_plugin
from plughost.services.users.table import MAX_USER_ID, UserTable
from plughost.user_directory import User
from plughost_protocol import ErrorCode

__all__ = ["UnknownUser", "UserId", "UsersService", "users_file"]

UserId = Annotated[str, Meta(max_length=MAX_USER_ID)]
"""Empty for the user for whom the running call is."""


class UnknownUser(PlughostError):
    """Raised when there is no user with this id."""

    code = ErrorCode.UNKNOWN_USER

    def __init__(self, user_id: str) -> None:
        super().__init__(
            f"there is no user {user_id!r}"
            if user_id
            else "no user was named, and the running call is for none"
        )
        self.user_id = user_id


class _GetUser(Struct, frozen=True, forbid_unknown_fields=True):
    user_id: UserId = ""


def users_file(state_folder: Path) -> Path:
    """Where the embedded table of users is."""
    return state_folder / "users.db"


class UsersService(HostService):
    """Over the application's directory, or the embedded table."""

    def __init__(self, config: UsersConfig, state_folder: Path) -> None:
        self.table = UserTable(users_file(state_folder), "users")
        """The embedded table; not asked where the application has a directory."""
        self._theirs = config.directory
        self.methods = (
            ServiceMethod("users.get", "users:read", _GetUser, self._on_get),
            ServiceMethod("users.get_preferences", "users:read", _GetUser, self._on_preferences),
        )

    async def aclose(self) -> None:
        await self.table.aclose()

    async def get(self, user_id: str) -> User:
        """Raises `UnknownUser`, `StoreError`."""
        user = await (self._theirs or self.table).get(user_id) if user_id else None
        if user is None:
            raise UnknownUser(user_id)
        return user

    async def check(self, user_id: str) -> None:
        """Raise `UnknownUser` unless somebody can have this id.

        While the embedded table is empty, anybody can: the host keeps no users.
        """
        if not user_id:
            raise UnknownUser(user_id)
        if self._theirs is None and await self.table.is_empty():
            return
        await self.get(user_id)

    async def _on_get(self, request: Request, params: _GetUser) -> Mapping[str, Any]:
        user = await self._asked(request, params)
        return {"id": user.id, "name": user.name, "email": user.email}

    async def _on_preferences(self, request: Request, params: _GetUser) -> Mapping[str, Any]:
        return (await self._asked(request, params)).preferences

    async def _asked(self, request: Request, params: _GetUser) -> User:
        with told_to_plugin("users"):
            return await self.get(params.user_id or request.user_id)
