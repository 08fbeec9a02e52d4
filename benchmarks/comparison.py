"""The table of the README: what asyncbus and its peers keep and need, and two figures of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from benchmarks import bench_publish_to_handled as pipelined
from benchmarks import bench_single_stored as awaited
from benchmarks.results import Result
from benchmarks.wording import number


class _Peer(NamedTuple):
    """One row: the figures by their names in the two questions."""

    name: str
    keeps_a_log: str
    needs_a_server: str
    pipelined: str
    awaited: str
    remark: str = ""


_PEERS: Final = (
    _Peer("asyncbus, synced before it is delivered", "yes", "no", pipelined.OURS, awaited.FULL),
    _Peer(
        "eventsourcing, synced before the answer",
        "yes",
        "no",
        pipelined.EVENTSOURCING,
        awaited.EVENTSOURCING,
        " in lots of 1,000",
    ),
    _Peer(
        "eventsource-py, synced before the answer",
        "yes",
        "no",
        pipelined.EVENTSOURCE,
        awaited.EVENTSOURCE,
        " in lots of 100",
    ),
    _Peer("NATS JetStream, each message synced", "yes", "yes", pipelined.JETSTREAM_ALWAYS, awaited.JETSTREAM_ALWAYS),
    _Peer("NATS JetStream, synced every 2 min", "yes", "yes", pipelined.JETSTREAM, awaited.JETSTREAM),
    _Peer("bubus with its log file, never synced", "it writes one", "no", pipelined.BUBUS_LOG, awaited.BUBUS),
)


def lines(results: Sequence[Result]) -> Iterator[str]:
    """The table as lines of Markdown."""
    figures = {
        (result.question, name): figure.spread.median
        for result in results
        for name, figure in result.figures.items()
        if figure.spread is not None
    }

    def shown(question: str, name: str) -> str:
        return number(figures[question, name]) if (question, name) in figures else "not measured"

    yield "| | keeps a replayable log | needs a server | events a second, pipelined | awaited one by one |"
    yield "|---|---|---|---|---|"
    for peer in _PEERS:
        first = shown("publish_to_handled", peer.pipelined) + peer.remark
        second = shown("single_stored", peer.awaited)
        yield f"| {peer.name} | {peer.keeps_a_log} | {peer.needs_a_server} | {first} | {second} |"
    yield "| blinker, pyee, pymitter, aiopubsub, broadcaster | no | no | none: they forget | none |"
    yield "| Kafka, RabbitMQ streams | yes | yes | not measured here | |"
