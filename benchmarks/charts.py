"""What the charts show, a picture for each group of questions: which figures, beside which limit, in which words.

Nothing here draws: `bars.py` and `curves.py` do.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import bench_concurrent_stored as by_tasks
from benchmarks import bench_emulator as emulator
from benchmarks import bench_growing_log as log
from benchmarks import bench_growing_payloads as payloads
from benchmarks import bench_growing_subscriptions as subscriptions
from benchmarks import bench_growing_types as types
from benchmarks import bench_latency as latency
from benchmarks import bench_memory_fanout as fan_out
from benchmarks import bench_publish_to_handled as pipelined
from benchmarks import bench_replay as replay
from benchmarks import bench_single_stored as singly
from benchmarks.chart import OURS, Bars, Column, Curves, Line, Panel
from benchmarks.results import Result

_FULL, _NORMAL = "asyncbus, FULL", "asyncbus, NORMAL ¹"
_ALWAYS, _DEFAULT = "JetStream, synced always", "JetStream, default ¹"
_BUBUS = "bubus, with its log file ¹"

_DURABLE = Bars(
    name="durable",
    title="Durable publishing, 90-byte JSON; ¹ is synced later: survives the process, not the power",
    rows=(_FULL, "eventsourcing", "eventsource-py", _ALWAYS, _NORMAL, _DEFAULT, _BUBUS),
    columns=(
        Column(
            "publish_to_handled",
            "publish → handler, pipelined",
            "events/s, longer is better",
            {
                _FULL: pipelined.OURS,
                "eventsourcing": pipelined.EVENTSOURCING,
                "eventsource-py": pipelined.EVENTSOURCE,
                _ALWAYS: pipelined.JETSTREAM_ALWAYS,
                _DEFAULT: pipelined.JETSTREAM,
                _BUBUS: pipelined.BUBUS_LOG,
            },
            ("sqlite3, 4,096 rows a commit", pipelined.LIMIT),
        ),
        Column(
            "concurrent_stored",
            "256 tasks, each awaiting",
            "events/s, longer is better",
            {
                _FULL: by_tasks.STORED,
                "eventsourcing": by_tasks.EVENTSOURCING,
                "eventsource-py": by_tasks.EVENTSOURCE,
                _ALWAYS: by_tasks.JETSTREAM_ALWAYS,
                _DEFAULT: by_tasks.JETSTREAM,
                _BUBUS: by_tasks.BUBUS,
            },
            ("aiosqlite, a commit an event", by_tasks.BARE),
        ),
        Column(
            "single_stored",
            "one task, awaiting each",
            "events/s, longer is better",
            {
                _FULL: singly.FULL,
                _NORMAL: singly.NORMAL,
                "eventsourcing": singly.EVENTSOURCING,
                "eventsource-py": singly.EVENTSOURCE,
                _ALWAYS: singly.JETSTREAM_ALWAYS,
                _DEFAULT: singly.JETSTREAM,
                _BUBUS: singly.BUBUS,
            },
            ("aiosqlite, a commit an event", singly.LIMIT),
        ),
    ),
)

_FAN_OUT = Bars(
    name="fan-out",
    title="Fan-out in memory: publish to handlers that read the data",
    rows=(OURS, *fan_out.EMITTERS),
    columns=[
        Column(
            "memory_fanout",
            f"{subscribers:,} subscriber{'s' if subscribers > 1 else ''}",
            "deliveries/s",
            {OURS: fan_out.ours(subscribers)} | {who: fan_out.peer(who, subscribers) for who in fan_out.EMITTERS},
            ("asyncio.Queue", fan_out.limit(subscribers)),
        )
        for subscribers in fan_out.FLOORS
    ],
)

_CATCH_UP = Bars(
    name="catch-up",
    title="Catching up: history read from the first event on, and its data with it",
    rows=(f"{OURS}, replay", f"{OURS}, subscription", "eventsourcing", "eventsource-py", "JetStream"),
    columns=(
        Column(
            "replay",
            "events/s, longer is better",
            "of 1,000,000 events; peers of fewer",
            {
                f"{OURS}, replay": replay.OURS_READING,
                f"{OURS}, subscription": replay.CAUGHT_UP,
                "eventsourcing": replay.EVENTSOURCING,
                "eventsource-py": replay.EVENTSOURCE,
                "JetStream": replay.JETSTREAM,
            },
            ("sqlite3, read and decode", replay.LIMIT_DECODING),
        ),
    ),
)

_LATENCY = Bars(
    name="latency",
    title="Latency at 1,000 events a second, publish → handler; ¹ syncs later: survives the process, not the power",
    rows=(_FULL, _ALWAYS, _NORMAL, _DEFAULT),
    columns=[
        Column(
            "latency",
            part,
            "ms, shorter is better",
            {
                _FULL: f"asyncbus FULL, {part}",
                _ALWAYS: f"{latency.JETSTREAM_ALWAYS}, {part}",
                _NORMAL: f"asyncbus NORMAL, {part}",
                _DEFAULT: f"{latency.JETSTREAM}, {part}",
            },
            ("one commit", f"aiosqlite FULL in turn, {part}"),
        )
        for part in latency.PARTS
    ],
)

_DEMO, _ALONE, _KEPT = "asyncbus, the whole demo", "asyncbus, no subscriber", "a hook that keeps it"

_EMULATOR = Bars(
    name="emulator",
    title="What an emulator pays to tell every basic block",
    rows=(_DEMO, _ALONE, _KEPT),
    columns=(
        Column(
            "emulator",
            "µs an event, shorter is better",
            "the emulator's own time included",
            {
                _DEMO: emulator.WHOLE,
                _ALONE: emulator.ALONE,
                _KEPT: emulator.KEPT,
            },
            ("a hook that does nothing", emulator.NOTHING),
        ),
    ),
)

_GROWTH = Curves(
    name="growth",
    title="Growth",
    panels=(
        Panel(
            "growing_log",
            "appending to a log",
            "events in it",
            "events/s",
            [Line("append", [(size, log.figure(log.APPENDED, size)) for size in log.SIZES])],
        ),
        Panel(
            "growing_log",
            "opening and reading it",
            "events in it",
            "ms",
            [
                Line(what, [(size, log.figure(what, size)) for size in log.SIZES])
                for what in (log.OPENED, log.FIRST, log.NEWEST)
            ],
        ),
        Panel(
            "growing_subscriptions",
            "subscriptions of which one matches",
            "subscriptions",
            "µs",
            [
                Line(what, [(size, subscriptions.figure(what, size)) for size in subscriptions.SIZES])
                for what in (subscriptions.EVENT, subscriptions.SUBSCRIBING)
            ],
        ),
        Panel(
            "growing_types",
            "event types, publish → handler, durable",
            "event types",
            "events/s",
            [Line("publish → handler", [(size, types.figure(size)) for size in types.SIZES])],
        ),
        Panel(
            "growing_payloads",
            "payloads, publish → handler, durable",
            "bytes",
            "events/s",
            [
                Line(
                    who,
                    [(size, payloads.figure(figure, payloads.RATE, size)) for size in payloads.SIZES],
                    limit=figure == payloads.LIMIT,
                )
                for who, figure in ((OURS, payloads.OURS), ("sqlite3", payloads.LIMIT))
            ],
            logarithmic=True,
        ),
        Panel(
            "growing_payloads",
            "the same, as volume",
            "bytes",
            "MB/s",
            [
                Line(
                    who,
                    [(size, payloads.figure(figure, payloads.VOLUME, size)) for size in payloads.SIZES],
                    limit=figure == payloads.LIMIT,
                )
                for who, figure in ((OURS, payloads.OURS), ("sqlite3", payloads.LIMIT))
            ],
        ),
    ),
)

CHARTS: tuple[Bars | Curves, ...] = (_DURABLE, _FAN_OUT, _CATCH_UP, _LATENCY, _GROWTH, _EMULATOR)


def shown(results: Sequence[Result]) -> list[Bars | Curves]:
    """The charts whose questions were all asked, with all their figures, whether or not each could be measured."""
    asked = {(result.question, name) for result in results for name in result.figures}
    return [chart for chart in CHARTS if asked.issuperset(chart.named)]
