"""A log damaged at random in which `asyncbus.verify` finds nothing gives what was put into it."""

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from asyncbus import AsyncBusError
from asyncbus.testing import content
from tests.store.files import exchange, make_log, opened, read_all, sql, verified


def flip_a_bit(file: bytearray, random: Random) -> None:
    file[random.randrange(len(file))] ^= 1 << random.randrange(8)


def lose_a_sector(file: bytearray, random: Random) -> None:
    place = random.randrange(len(file) // 512) * 512
    file[place : place + 512] = bytes(512)


def swap_two_pages(file: bytearray, random: Random) -> None:
    exchange(file, *random.sample(range(1, len(file) // 4096), 2))


def repeat_a_page(file: bytearray, random: Random) -> None:
    one, other = (4096 * page for page in random.sample(range(1, len(file) // 4096), 2))
    file[one : one + 4096] = file[other : other + 4096]


def cut_the_end(file: bytearray, random: Random) -> None:
    del file[random.randrange(1, len(file)) :]


@pytest.mark.fault(44)
@pytest.mark.asyncio
@pytest.mark.parametrize("damage", [flip_a_bit, lose_a_sector, swap_two_pages, repeat_a_page, cut_the_end])
async def test_a_log_in_which_nothing_is_found_gives_what_was_put_in(
    path: Path, damage: Callable[[bytearray, Random], None]
) -> None:
    await make_log(path, 700, data="x" * 50)
    async with opened(path) as store:
        whole = [content(event) for event in (await read_all(store))[0]]
    original = path.read_bytes()
    random = Random(damage.__name__)
    found_in = 0

    for _ in range(40):
        file = bytearray(original)
        damage(file, random)
        path.write_bytes(file)
        try:
            found = await verified(path)
        except AsyncBusError:  # the file is not even a log any more
            found_in += 1
            continue
        found_in += not found.sound
        if found.sound:
            async with opened(path, read_only=True) as store:
                assert [content(event) for event in (await read_all(store))[0]] == whole

    # Not every bit of a page means something.
    assert found_in > 15


@pytest.mark.asyncio
async def test_no_more_than_a_thousand_findings_are_listed_and_the_others_are_counted(path: Path) -> None:
    await make_log(path, 1500)
    sql(path, "UPDATE events SET data = '1'")

    found = await verified(path)

    assert len(found.findings) == 1000
    assert found.unlisted == 500
    assert str(found).splitlines()[-1] == "and 500 more"
