"""What all events of the machine have in common."""

import msgspec


class VmEvent(msgspec.Struct, gc=False):
    """Subscribe to it, and get everything that the machine tells."""
