"""Exactly-once effects: what a consumer does to a database, and how far it has got, commit together or not at all.

Begin, save the state, run the block, commit: the state saved says already that this event has had its effect, so
whoever loads it later knows exactly what the database holds.
"""

from asyncbus.effects.base import Effects
from asyncbus.effects.postgres import PostgresEffects
from asyncbus.effects.sqlite import SQLiteEffects

__all__ = ["Effects", "PostgresEffects", "SQLiteEffects"]
