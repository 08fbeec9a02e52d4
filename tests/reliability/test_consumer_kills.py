"""A process with consumers may be killed at any moment: they owe what was not done, and nothing is done twice."""

import re
from collections.abc import Callable
from functools import partial

import pytest

from tests.reliability.broken import (
    forget_attempts,
    lower_the_fence,
    park_before_the_checkpoint,
    publish_under_new_ids,
    store_checkpoints_before_the_handler,
)
from tests.reliability.conftest import Finding, ShortRun
from tests.reliability.consumer_kills import TOOL, trial


@pytest.mark.fault(62)
@pytest.mark.fault(66)
@pytest.mark.fault(67)
def test_consumers_owe_what_is_not_done_after_every_kill(short_run: ShortRun) -> None:
    report = short_run(TOOL)

    assert report.violations == []
    assert report.figures["of them again"] > report.figures["kills"]


@pytest.mark.parametrize(
    ("breaks", "found"),
    [
        pytest.param(
            store_checkpoints_before_the_handler, "neither done nor parked", id="the checkpoint before the handler"
        ),
        # The whole state comes a commit later than the letter, and with it the numbers of attempts.
        pytest.param(
            park_before_the_checkpoint,
            "parked what it still owes|and had it as attempt",
            id="the dead letter by a commit of its own",
        ),
        pytest.param(forget_attempts, "and had it as attempt", id="the handler before its attempt is stored"),
        pytest.param(lower_the_fence, "more than once|it was stored that this is done", id="effects without the fence"),
        pytest.param(publish_under_new_ids, "as receipt, and then", id="ids of their own for what follows"),
    ],
)
def test_a_broken_promise_of_consumers_is_found(breaks: Callable[[], None], found: str, finding: Finding) -> None:
    assert re.search(found, finding(TOOL, partial(trial, breaks=breaks)))
