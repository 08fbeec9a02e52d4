"""Where `python -m asyncbus.verify` begins; the name `asyncbus.verify` is the function, also after importing this."""

from asyncbus.store.verification import verify

__all__ = ["verify"]
