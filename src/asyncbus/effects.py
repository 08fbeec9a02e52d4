"""Where the effects of a consumer are kept."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable


@runtime_checkable
class Effects(Protocol):
    async def load(self, consumer: str) -> str | None: ...
    def transaction(self, consumer: str, state: str) -> AbstractAsyncContextManager[object]: ...
