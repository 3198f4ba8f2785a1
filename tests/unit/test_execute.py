import dataclasses
import os
import signal
from functools import partial
from pathlib import Path

import pytest

from tilth.errors import ConfigError, DataError, StepError
from tilth.execute import Context, map_shards


def describe(factor: int, shard: int) -> tuple[int, int]:
    return shard * factor, os.getpid()


def refuse(shard: int) -> int:
    if shard == 2:
        raise DataError(f"shard {shard} is broken", fix="mend it")
    return shard


def die(shard: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return shard


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_whatever_the_workers(workers: int) -> None:
    results = list(map_shards(partial(describe, 3), range(7), Context(workers=workers)))
    assert [r for r, _ in results] == [0, 3, 6, 9, 12, 15, 18]
    assert (os.getpid() in {pid for _, pid in results}) == (workers == 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_keeps_its_kind_and_its_fix(workers: int) -> None:
    with pytest.raises(DataError, match="shard 2") as caught:
        list(map_shards(refuse, range(4), Context(workers=workers)))
    assert caught.value.fix == "mend it"


def test_a_killed_worker_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(StepError, match="killed") as caught:
        list(map_shards(die, range(2), Context(workers=2)))
    assert "--workers" in str(caught.value)


def test_no_shards_no_work() -> None:
    assert list(map_shards(refuse, [], Context(workers=4))) == []


def test_errors_are_value_errors_where_values_are_wrong() -> None:
    assert issubclass(ConfigError, ValueError)
    assert str(ConfigError("`x` is 1.", fix="Give 2.")) == "`x` is 1.\nGive 2."


def test_context_is_plain(tmp_path: Path) -> None:
    context = Context(runs=tmp_path)
    assert dataclasses.replace(context, workers=3).workers == 3
    assert context.workers >= 1
