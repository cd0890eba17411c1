"""The log: one line per event, never a secret, never a block."""

import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaa.clock import ManualClock
from aaa.config import Redacted
from aaa.limits import LOG_REPEAT_KEYS_MAX, LOG_VALUE_CHARACTERS_MAX
from aaa.server import log as module
from aaa.server.log import SECRET_FIELDS, Level, Log, LogHandler

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "aaa.log"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(at=1_795_229_412.1234)


@pytest.fixture
def log(file: Path, clock: ManualClock) -> Iterator[Log]:
    log = Log(file, clock=clock)
    yield log
    log.close()


@pytest.fixture
def lines(log: Log, file: Path) -> Lines:
    def read() -> list[dict[str, Any]]:
        log.close()
        return [json.loads(line) for line in file.read_text().splitlines()]

    return read


def text_of(file: Path, clock: ManualClock, event: str, msg: str, **fields: object) -> str:
    log = Log(file, text=True, clock=clock)
    log.info(event, msg, **fields)
    log.close()
    return file.read_text()


def test_a_line_has_time_level_event_message_and_fields(log: Log, lines: Lines) -> None:
    log.warning("radius.reject", "wrong password", nas="lan", nas_ip="192.0.2.1", latency_us=12, user=None)
    assert lines() == [
        {
            "ts": "2026-11-21T02:50:12.123Z",
            "level": "warning",
            "event": "radius.reject",
            "msg": "wrong password",
            "nas": "lan",
            "nas_ip": "192.0.2.1",
            "latency_us": 12,
            "user": None,
        }
    ]


def test_a_level_below_the_configured_one_is_not_written(log: Log, lines: Lines) -> None:
    log.debug("a")
    log.info("b")
    log.level = Level.ERROR
    log.warning("c")
    log.error("d")
    assert [line["event"] for line in lines()] == ["b", "d"]


def test_a_redacted_value_is_never_written(log: Log, lines: Lines, file: Path) -> None:
    secret = Redacted("open-sesame")
    log.info("x", f"using {secret}", a=secret, b=[secret], c={"d": secret}, e=(1, {"f": [secret]}))
    assert lines()[0] | {"ts": "", "level": ""} == {
        "ts": "",
        "level": "",
        "event": "x",
        "msg": "using ***",
        "a": "***",
        "b": ["***"],
        "c": {"d": "***"},
        "e": [1, {"f": ["***"]}],
    }
    assert "sesame" not in file.read_text()


@pytest.mark.parametrize("name", sorted(SECRET_FIELDS))
@pytest.mark.parametrize("text", [False, True])
def test_a_field_with_a_secrets_name_is_never_written(name: str, text: bool, file: Path, clock: ManualClock) -> None:
    log = Log(file, text=text, clock=clock)
    log.info("x", **{name: "open-sesame", "value": {name: b"open-sesame"}})
    log.close()
    assert "sesame" not in file.read_text()
    assert b"open-sesame".hex() not in file.read_text()


def test_an_exception_has_its_traceback_without_local_variables(log: Log, lines: Lines, file: Path) -> None:
    def fails(password: str) -> None:
        raise RuntimeError("no good")

    try:
        fails("open-" + "sesame".upper())
    except RuntimeError as error:
        log.exception("packet.failed", error, nas="lan")
    line = lines()[0]
    assert (line["level"], line["msg"], line["nas"]) == ("error", "RuntimeError: no good", "lan")
    assert "in fails" in line["traceback"]
    assert "SESAME" not in file.read_text()


def test_values_that_json_lacks_are_still_written(log: Log, lines: Lines) -> None:
    log.info("x", octets=b"\x00\xff", path=Path("/a"), big=2**70, nothing=float("nan"), lone="\udc80", some={"b"})
    line = lines()[0]
    assert (line["octets"], line["path"], line["big"], line["nothing"]) == ("0x00ff", "/a", str(2**70), None)
    assert (line["lone"], line["some"]) == ("\\udc80", ["b"])


def test_a_field_does_not_take_the_place_of_the_lines_own(log: Log, lines: Lines) -> None:
    log.info("x", "y", level="low", ts=1)
    line = lines()[0]
    assert (line["level"], line["level_"], line["ts_"]) == ("info", "low", 1)


def test_a_long_value_is_cut(log: Log, lines: Lines) -> None:
    log.info("x", "m" * 100_000, value="v" * LOG_VALUE_CHARACTERS_MAX, longer="v" * (LOG_VALUE_CHARACTERS_MAX + 1))
    line = lines()[0]
    assert len(line["msg"]) == LOG_VALUE_CHARACTERS_MAX + 1
    assert line["value"] == "v" * LOG_VALUE_CHARACTERS_MAX
    assert line["longer"] == "v" * LOG_VALUE_CHARACTERS_MAX + "…"


def test_text_is_one_readable_line(file: Path, clock: ManualClock) -> None:
    text = text_of(
        file, clock, "radius.reject", "wrong password", user="al ice", nas="lan", n=3, why='a"b\\', none=None
    )
    assert text == (
        "2026-11-21T02:50:12.123Z INFO    radius.reject wrong password "
        'user="al ice" nas=lan n=3 why="a\\"b\\\\" none=null\n'
    )


def test_text_leaves_the_time_to_journald(file: Path, clock: ManualClock) -> None:
    log = Log(file, text=True, timestamps=False, clock=clock)
    log.info("x")
    log.close()
    assert file.read_text() == "INFO    x\n"


@given(value=st.text(max_size=50), message=st.text(max_size=50))
def test_no_value_can_begin_a_line_of_its_own(value: str, message: str) -> None:
    for text in (False, True):
        read, write = os.pipe()
        log = Log(write, text=text, clock=ManualClock())
        log.info("x", message, user=value)
        log.close()
        os.close(write)
        with os.fdopen(read, "rb") as stream:
            octets = stream.read()
        assert octets.endswith(b"\n")
        assert len(octets.decode().splitlines()) == 1 or not text
        assert octets.count(b"\n") == 1
        assert not any(octet < 32 for octet in octets[:-1])


def test_repeated_lines_are_left_out_and_counted(log: Log, clock: ManualClock, lines: Lines) -> None:
    for _ in range(5):
        log.warning("radius.unknown_source", repeat="192.0.2.1")
    log.warning("radius.unknown_source", repeat="192.0.2.2")
    log.warning("other.event", repeat="192.0.2.1")
    clock.advance(module.REPEAT_INTERVAL_S)
    log.warning("radius.unknown_source", repeat="192.0.2.1")
    log.warning("radius.unknown_source", repeat="192.0.2.1")
    clock.advance(module.REPEAT_INTERVAL_S)
    log.tick()
    shown = [(line["event"], line.get("repeat"), line.get("repeated")) for line in lines()]
    assert shown == [
        ("radius.unknown_source", None, None),
        ("radius.unknown_source", None, None),
        ("other.event", None, None),
        ("radius.unknown_source", None, 4),
        ("radius.unknown_source", "192.0.2.1", 1),
    ]


def test_tick_says_nothing_before_the_interval_ends(log: Log, clock: ManualClock, lines: Lines) -> None:
    log.info("x", repeat=1)
    log.info("x", repeat=1)
    clock.advance(module.REPEAT_INTERVAL_S - 1)
    log.tick()
    log.info("end")
    assert [line["event"] for line in lines()] == ["x", "end", "x"]


def test_a_flood_of_keys_is_bounded_and_still_counted(log: Log, clock: ManualClock, lines: Lines) -> None:
    for number in range(LOG_REPEAT_KEYS_MAX + 1000):
        log.info("x", repeat=number)
    assert len(log._repeats) == LOG_REPEAT_KEYS_MAX + 1
    clock.advance(module.REPEAT_INTERVAL_S)
    log.tick()
    assert log._repeats == {}
    shown = lines()
    assert len(shown) == LOG_REPEAT_KEYS_MAX + 2
    assert shown[-1]["repeated"] == 999


def test_a_stuck_destination_never_blocks_and_lost_lines_are_counted(clock: ManualClock) -> None:
    read, write = os.pipe()
    log = Log(write, clock=clock, queue_lines=100)
    for number in range(5000):  # far more than the pipe and the queue hold; a blocking log would hang here
        log.info("x", "m" * 200, number=number)
    assert log.dropped > 4000
    received: list[bytes] = []

    def drain() -> None:
        while chunk := os.read(read, 65_536):
            received.append(chunk)

    reader = threading.Thread(target=drain)
    reader.start()
    log.close(timeout_s=30)
    os.close(write)
    reader.join(30)
    os.close(read)
    shown = [json.loads(line) for line in b"".join(received).splitlines()]
    written = [line["number"] for line in shown if line["event"] == "x"]
    assert written == sorted(written)
    assert len(written) + log.dropped == 5000
    assert sum(line["count"] for line in shown if line["event"] == "log.dropped") == log.dropped


def test_a_non_blocking_descriptor_gets_everything(clock: ManualClock) -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    log = Log(write, clock=clock)
    for _ in range(2000):
        log.info("x", "m" * 100)
    received = []
    closer = threading.Thread(target=lambda: (log.close(timeout_s=30), os.close(write)))
    closer.start()
    while chunk := os.read(read, 65_536):
        received.append(chunk)
    closer.join(30)
    os.close(read)
    assert b"".join(received).count(b"\n") == 2000


def test_a_destination_that_refuses_is_counted(clock: ManualClock) -> None:
    read, write = os.pipe()
    os.close(read)
    log = Log(write, clock=clock)
    log.info("x")
    log.close()
    os.close(write)
    assert log.write_errors == 1


def test_reopen_follows_logrotate(log: Log, file: Path, lines: Lines) -> None:
    log.info("before")
    moved = file.with_suffix(".1")
    file.rename(moved)
    log.reopen()
    log.info("after")
    assert [line["event"] for line in lines()][-1] == "after"
    assert "after" not in moved.read_text()


def test_a_file_that_cannot_be_opened_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Log(tmp_path / "missing" / "aaa.log")


def test_libraries_log_through_the_same_door(log: Log, lines: Lines) -> None:
    logger = logging.Logger("some.library", logging.DEBUG)
    logger.addHandler(LogHandler(log))
    logger.warning("it is %s", "odd")
    logger.debug("too much")
    try:
        raise ValueError("bad")
    except ValueError:
        logger.critical("failed", exc_info=True)
    first, second = lines()
    assert (first["event"], first["level"], first["msg"], first["logger"]) == (
        "library",
        "warning",
        "it is odd",
        "some.library",
    )
    assert second["level"] == "error"
    assert "ValueError: bad" in second["traceback"]
