"""What has to hold at the end, and the tables that show it."""

from math import isqrt

from examples.emulator.display import Check, Table
from examples.emulator.kill import Aftermath
from examples.emulator.profile import Profiled
from examples.emulator.run import Outcome
from examples.emulator.subscribers import Subscriber


def emulator_checks(outcome: Outcome) -> list[Check]:
    machine, team = outcome.machine, outcome.team
    expected_primes = count_primes(outcome.limit)
    slow = outcome.at_halt[team.slowpoke.name]
    return [
        Check(f"{outcome.primes:,} primes up to {outcome.limit:,}", outcome.primes == expected_primes),
        Check(
            f"as many blocks as in the rehearsal: {machine.blocks:,}",
            machine.blocks == outcome.rehearsal.blocks,
        ),
        Check(
            f"every event is stored: {outcome.statistics.stored:,}",
            outcome.statistics.stored == machine.published().total(),
        ),
        *(
            Check(f"{member.name}: every event of {member.pattern} once, in order", complete(outcome, member))
            for member in team
        ),
        Check(
            f"latecomer: joined after {outcome.joined_at:,} blocks, and knows how often each one ran",
            0 < outcome.joined_at < machine.blocks and team.latecomer.executions == machine.executions,
        ),
        Check(
            f"slowpoke: {slow.backlog:,} behind when the machine halted, {slow.phase}",
            slow.phase == "catching_up",
        ),
    ]


def kill_checks(aftermath: Aftermath) -> list[Check]:
    return [
        Check("the second process was killed while it published", aftermath.killed),
        Check(
            f"{len(aftermath.acknowledged):,} events acknowledged, {len(aftermath.lost):,} of them lost",
            bool(aftermath.acknowledged) and not aftermath.lost,
        ),
        Check(
            f"{aftermath.stored:,} events stored, without a hole, and the next one gets {aftermath.next_sequence:,}",
            aftermath.consecutive and aftermath.next_sequence == aftermath.stored + 1,
        ),
    ]


def profile_checks(profiled: Profiled) -> list[Check]:
    pc, times = max(profiled.profile.items(), key=lambda item: item[1], default=(0, 0))
    return [
        Check("the profiler was killed while it counted", profiled.killed),
        Check(f"run again, it ended: {profiled.said}", profiled.said == "drained, nothing was in flight; behind by 0"),
        Check(
            f"{profiled.profile.total():,} executions counted, each of the log's {profiled.log.total():,} once;"
            f" the hottest block, at {pc:#x}, ran {times:,} times",
            bool(profiled.log) and profiled.profile == profiled.log,
        ),
    ]


def complete(outcome: Outcome, member: Subscriber) -> bool:
    """Whether `member` received exactly what the machine published for it."""
    return member.in_order() and member.none_twice() and member.delivered == expected(outcome, member)


def expected(outcome: Outcome, member: Subscriber) -> dict[str, int]:
    prefix = member.pattern.removesuffix("*")
    return {type: count for type, count in outcome.machine.published().items() if type.startswith(prefix)}


def tables(outcome: Outcome) -> list[Table]:
    return [_figures(outcome), _events(outcome), _subscribers(outcome)]


def _figures(outcome: Outcome) -> Table:
    machine, statistics = outcome.machine, outcome.statistics
    events = machine.published().total()
    alone = outcome.rehearsal
    return Table(
        "the run",
        ("", "figure"),
        [
            (f"primes up to {outcome.limit:,}", f"{outcome.primes:,}"),
            ("basic blocks executed", f"{machine.blocks:,}"),
            ("guest instructions executed", f"{machine.instructions:,}"),
            ("events published and stored", f"{statistics.stored:,}"),
            ("seconds until all were stored", f"{outcome.publishing_seconds:.2f}"),
            ("events a second", f"{events / outcome.publishing_seconds:,.0f}"),
            ("blocks a second, emulator alone", f"{alone.blocks / alone.seconds:,.0f}"),
            ("commits", f"{statistics.batches:,}"),
            ("events a commit", f"{statistics.stored / max(1, statistics.batches):,.0f}"),
            ("seconds for everybody to catch up", f"{outcome.catching_up_seconds:.2f}"),
        ],
    )


def _events(outcome: Outcome) -> Table:
    return Table(
        "events by type",
        ("type", "events"),
        [(type, f"{count:,}") for type, count in outcome.machine.published().most_common()],
    )


def _subscribers(outcome: Outcome) -> Table:
    return Table(
        "subscribers",
        ("subscriber", "pattern", "behind at halt", "expected", "delivered", "in order, none twice"),
        [
            (
                member.name,
                member.pattern,
                f"{outcome.at_halt[member.name].backlog:,}",
                f"{sum(expected(outcome, member).values()):,}",
                f"{len(member.sequences):,}",
                "yes" if member.in_order() and member.none_twice() else "NO",
            )
            for member in outcome.team
        ],
        names=2,
    )


def count_primes(limit: int) -> int:
    """The number of primes up to `limit`, by other means than the guest's."""
    is_prime = bytearray([1]) * (limit + 1)
    is_prime[:2] = bytes(2)
    for number in range(2, isqrt(limit) + 1):
        if is_prime[number]:
            is_prime[number * number :: number] = bytes(len(range(number * number, limit + 1, number)))
    return sum(is_prime)
