"""The checks that `verify` makes of what a log keeps for durable consumers."""

from __future__ import annotations

from asyncbus.codec import first_damaged
from asyncbus.store import keeping, kept
from asyncbus.store.consumers import ConsumerState, ParkedFilter
from asyncbus.store.inspection import DAMAGE, HEAD, Inspection


def inspect_kept(inspection: Inspection) -> None:
    """Check consumers and dead letters, and note what is found."""
    _check_consumers(inspection)
    _check_dead_letters(inspection)


def _check_consumers(inspection: Inspection) -> None:
    """Each can be read, and its checkpoint lies within the log."""
    found: list[ConsumerState] = []
    for (place,) in inspection.rows("SELECT rowid FROM consumers"):
        try:
            for (text,) in inspection.connection.execute(keeping.STATE, (place,)):
                found += kept.states(f"[{text}]")
        except DAMAGE as error:
            inspection.note(f"row {place} of the table consumers is damaged: {inspection.damage(error)}")
    # Asked after them, for a writer at work moves both.
    for (head,) in inspection.rows(f"SELECT {HEAD}"):
        for state in found:
            if state.checkpoint > head:
                inspection.note(
                    f"consumer {state.name!r} has its checkpoint at {state.checkpoint}, but the log ends at {head}"
                )


def _check_dead_letters(inspection: Inspection) -> None:
    """Each can be read, and its event has the checksum that it had in the log."""
    last = -(2**63)
    while numbers := inspection.rows(
        "SELECT number FROM dead_letters WHERE number > ? ORDER BY number LIMIT 1024", last
    ):
        for (last,) in numbers:
            _check_dead_letter(inspection, last)


def _check_dead_letter(inspection: Inspection, number: int) -> None:
    sql, bound = keeping.letters(ParkedFilter(), after=number - 1, limit=1)
    try:
        [(text,)] = inspection.connection.execute(sql, bound)
        # Whoever writes the log may have released it meanwhile; then this is the next one.
        damaged = first_damaged([parked.record for parked in kept.letters(text)])
    except DAMAGE as error:
        inspection.note(f"dead letter {number} cannot be read: {inspection.damage(error)}")
    else:
        if damaged is not None:
            inspection.note(f"dead letter {number}, event {damaged.sequence}: its checksum is wrong", damaged.sequence)
