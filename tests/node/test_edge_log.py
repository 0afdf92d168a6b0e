"""Log events: one JSON object a line, bytes as hex, the standard library's loggers on the same stream."""

import io
import json
import logging

import pytest
import structlog

from node import log


@pytest.fixture(autouse=True)
def restored():
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def lines_of(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_events_are_json_lines_with_what_is_bound():
    stream = io.StringIO()
    log.configure(format="json", level="info", stream=stream)
    logger = log.get_logger(node="alice")
    logger.debug("vote.cast")
    logger.info("block.finalized", height=7, hash=b"\x01\x02")
    (event,) = lines_of(stream)
    assert (event["event"], event["level"], event["node"]) == ("block.finalized", "info", "alice")
    assert (event["height"], event["hash"]) == (7, "0102")
    assert event["timestamp"].endswith("Z")


def test_an_exception_is_one_line():
    stream = io.StringIO()
    log.configure(format="json", stream=stream)
    try:
        raise RuntimeError("a bug")
    except RuntimeError:
        log.get_logger().exception("node.crashed")
    (event,) = lines_of(stream)
    assert "RuntimeError: a bug" in event["exception"]


def test_warnings_of_libraries_come_the_same_way():
    stream = io.StringIO()
    log.configure(format="json", stream=stream)
    logging.getLogger("somebody").info("chatter")
    logging.getLogger("somebody").warning("mind %s", "this")
    (event,) = lines_of(stream)
    assert (event["event"], event["library"], event["message"]) == ("library.logged", "somebody", "mind this")


def test_console_is_for_people():
    stream = io.StringIO()
    log.configure(format="console", stream=stream)
    log.get_logger().info("peer.connected", peer=b"\xab")
    assert "peer.connected" in stream.getvalue()
    assert "peer=ab" in stream.getvalue()
