"""A real processor emulator that publishes all it does through the bus: the library's demo, and its first user.

``python -m examples.emulator`` runs it. From the ground up: ``sieve.c`` (the guest), ``memory.py``, ``machine.py`` (the
emulator; knows no bus), ``subscribers.py``, ``run.py`` (bus, machine and subscribers together), ``report.py`` (what has
to hold), ``display.py``; beside them ``kill.py``, which kills a second process while it publishes.
"""
