"""Log events to stderr: `noun.verb` with what they concern bound, as text for people or JSON for machines.

Only `node` and `net` log. Metrics are never scraped from here (STYLE.md, principle 19). What the standard
library's `logging` carries (hypercorn, httpx) goes the same way, from warnings upwards.
"""

import logging
import sys
from typing import Any, Final, Literal, TextIO

import structlog

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def configure(
    *,
    format: Literal["console", "json"] = "console",
    level: Literal["debug", "info", "warning", "error"] = "info",
    stream: TextIO | None = None,
) -> None:
    """Set up logging of this process. `stream` is stderr unless a test says otherwise."""
    target = stream or sys.stderr
    renderer: Any = (
        structlog.processors.JSONRenderer(default=_json_default)
        if format == "json"
        else structlog.dev.ConsoleRenderer(colors=target.isatty(), pad_event_to=24)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            *([structlog.processors.format_exc_info] if format == "json" else []),
            _readable_bytes,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(target),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [_Forwarder()]
    root.setLevel(logging.WARNING)


def get_logger(**bound: Any) -> Any:
    """A logger with `bound` on each of its events."""
    return structlog.get_logger(**bound)


def _readable_bytes(_logger: Any, _method: str, event: Any) -> Any:
    """Hashes and keys are bytes: show them as hex, shortened as people quote them."""
    for name, value in event.items():
        if isinstance(value, bytes):
            text = value.hex()
            event[name] = text if len(text) <= 64 else text[:64] + "…"
    return event


def _json_default(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


class _Forwarder(logging.Handler):
    """Hands a record of the standard library's logging to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger(library=record.name)
        log.log(record.levelno, "library.logged", message=record.getMessage(), exc_info=record.exc_info)
