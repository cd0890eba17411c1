"""One line per event, as JSON or text, written by a thread so that a slow disk or pipe never holds the packet loop.

Secrets do not show: Redacted values and fields with a secret's name are written as ***.
"""

import logging
import os
import queue
import select
import threading
import traceback
from collections import OrderedDict
from datetime import UTC, datetime
from enum import IntEnum
from typing import Final

import msgspec

from aaa.clock import Clock, SystemClock
from aaa.config.secrets import Redacted
from aaa.credential.identity import show_circuit
from aaa.limits import LOG_BATCH_LINES_MAX, LOG_QUEUE_LINES_MAX, LOG_REPEAT_KEYS_MAX, LOG_VALUE_CHARACTERS_MAX

REPEAT_INTERVAL_S: Final = 60.0
"""A line with a repeat key is written at most once in so long."""

SECRET_FIELDS: Final = frozenset(
    {
        "authorization",
        "chap_password",
        "cleartext",
        "ki",
        "nt_hash",
        "op",
        "opc",
        "password",
        "secret",
        "second_secret",
        "token",
        "user_password",
    }
)
"""Fields that are never written, whatever their value: a second net under Redacted."""


class Level(IntEnum):
    """Severity; names as in the configuration."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


class _Repeat:
    __slots__ = ("event", "level", "next_at", "suppressed")

    def __init__(self, level: Level, event: str, next_at: float) -> None:
        self.level = level
        self.event = event
        self.next_at = next_at
        self.suppressed = 0


class Log:
    """The server's log. Any thread may write; no call blocks, a full queue drops the line and counts it."""

    def __init__(
        self,
        destination: int | str | os.PathLike[str] = 1,
        *,
        level: Level = Level.INFO,
        text: bool = False,
        timestamps: bool = True,
        clock: Clock | None = None,
        queue_lines: int = LOG_QUEUE_LINES_MAX,
    ) -> None:
        """destination: a file descriptor, which stays the caller's, or a file to append to. text: else JSON.
        timestamps: False leaves them out of text lines, for journald, which has its own.

        Raises OSError when the file cannot be opened.
        """
        self.level = level
        self.dropped = 0
        """Lines lost to a full queue."""
        self.write_errors = 0
        """Lines lost to a destination that refused them."""
        self._text: Final = text
        self._timestamps: Final = timestamps
        self._clock: Final[Clock] = clock if clock is not None else SystemClock()
        self._file: Final = None if isinstance(destination, int) else os.fspath(destination)
        self._fd = destination if isinstance(destination, int) else _open(destination)
        self._encoder: Final = msgspec.json.Encoder(enc_hook=str)
        self._queue: Final[queue.SimpleQueue[bytes | None]] = queue.SimpleQueue()
        self._queue_lines: Final = queue_lines
        self._reported_dropped = 0
        self._repeats: Final[OrderedDict[tuple[str, object], _Repeat]] = OrderedDict()
        self._lock: Final = threading.Lock()
        self._reopen: Final = threading.Event()
        self._closed = False
        self._writer: Final = threading.Thread(target=self._write_lines, name="log", daemon=True)
        self._writer.start()

    def debug(self, event: str, msg: str = "", /, *, repeat: object = None, **fields: object) -> None:
        self.write(Level.DEBUG, event, msg, repeat, fields)

    def info(self, event: str, msg: str = "", /, *, repeat: object = None, **fields: object) -> None:
        self.write(Level.INFO, event, msg, repeat, fields)

    def warning(self, event: str, msg: str = "", /, *, repeat: object = None, **fields: object) -> None:
        self.write(Level.WARNING, event, msg, repeat, fields)

    def error(self, event: str, msg: str = "", /, *, repeat: object = None, **fields: object) -> None:
        self.write(Level.ERROR, event, msg, repeat, fields)

    def exception(self, event: str, error: BaseException, /, **fields: object) -> None:
        """An error that nobody can act on but a developer, with its traceback and without local variables."""
        trace = "".join(traceback.format_exception(error))[-LOG_VALUE_CHARACTERS_MAX:]
        self.write(Level.ERROR, event, f"{type(error).__name__}: {error}", None, {**fields, "traceback": trace})

    def write(self, level: Level, event: str, msg: str, repeat: object, fields: dict[str, object]) -> None:
        """One line. event: dotted name, such as "radius.unknown_source". repeat: lines of the same event and repeat key
        are written once in REPEAT_INTERVAL_S; the next one tells how many were left out, as `repeated`."""
        if level < self.level:
            return
        if repeat is not None:
            suppressed = self._count_repeat(level, event, repeat)
            if suppressed is None:
                return
            if suppressed:
                fields = {**fields, "repeated": suppressed}
        self._put(level, event, msg, fields)

    def tick(self) -> None:
        """Tell of lines that were left out and whose interval has ended; call it every few seconds."""
        now = self._clock.now()
        with self._lock:
            ended = []
            # Each entry is put last when its interval begins, so the first that has not ended ends the search.
            for key, repeat in self._repeats.items():
                if repeat.next_at > now:
                    break
                ended.append((key, repeat))
            for key, _ in ended:
                del self._repeats[key]
        for (_, key_text), repeat in ended:
            self._put_suppressed(repeat, key_text)

    def reopen(self) -> None:
        """Open the file anew, after logrotate moved it. Does nothing for a descriptor."""
        if self._file is not None:
            self._reopen.set()

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what is queued, for at most timeout_s. Lines written later are lost; a second call does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            left = list(self._repeats.items())
            self._repeats.clear()
        for (_, key_text), repeat in left:
            self._put_suppressed(repeat, key_text)
        self._queue.put(None)
        self._writer.join(timeout_s)
        if self._file is not None and not self._writer.is_alive():
            os.close(self._fd)

    def _count_repeat(self, level: Level, event: str, repeat: object) -> int | None:
        """How many were left out before this line; None: leave this one out as well."""
        now = self._clock.now()
        key = (event, repeat)
        with self._lock:
            known = self._repeats.get(key)
            if known is not None and known.next_at > now:
                known.suppressed += 1
                return None
            if known is not None:
                del self._repeats[key]
            elif len(self._repeats) >= LOG_REPEAT_KEYS_MAX:
                # Bound: with so many keys at once the flood itself is what to log; single ones are left out.
                return self._count_flood(level, event, now)
            self._repeats[key] = _Repeat(level, event, now + REPEAT_INTERVAL_S)
            return 0 if known is None else known.suppressed

    def _count_flood(self, level: Level, event: str, now: float) -> int | None:
        key = (event, _FLOOD)
        known = self._repeats.get(key)
        if known is not None and known.next_at > now:
            known.suppressed += 1
            return None
        self._repeats.pop(key, None)
        self._repeats[key] = _Repeat(level, event, now + REPEAT_INTERVAL_S)
        return 0 if known is None else known.suppressed

    def _put_suppressed(self, repeat: _Repeat, key: object) -> None:
        if repeat.suppressed:
            fields: dict[str, object] = {"repeat": key, "repeated": repeat.suppressed}
            self._put(repeat.level, repeat.event, "repeated lines were left out", fields)

    def _put(self, level: Level, event: str, msg: str, fields: dict[str, object]) -> None:
        if self._queue.qsize() >= self._queue_lines:
            self.dropped += 1
            return
        self._queue.put(self._line(level, event, msg, fields))

    def _line(self, level: Level, event: str, msg: str, fields: dict[str, object]) -> bytes:
        stamp = datetime.fromtimestamp(self._clock.at(), UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
        shown = {name: "***" if name in SECRET_FIELDS else _plain(value) for name, value in fields.items()}
        if not self._text:
            head = {"ts": stamp, "level": level.name.lower(), "event": event, "msg": _clip(msg)}
            # A field never takes the place of one of the line's own.
            own = {(f"{name}_" if name in head else name): value for name, value in shown.items()}
            return self._encoder.encode(head | own) + b"\n"
        parts = [stamp] if self._timestamps else []
        parts += [f"{level.name:<7}", event]
        if msg:
            parts.append(_printable(_clip(msg)))
        for name, value in shown.items():
            if name == "traceback":
                continue
            word = value if isinstance(value, str) else self._encoder.encode(value).decode()
            parts.append(f"{name}={_quoted(word)}")
        trace = shown.get("traceback")
        if isinstance(trace, str):  # indented, so that no line of it can pass for an entry
            parts.append("\n    " + "\n    ".join(_printable(line) for line in trace.rstrip().split("\n")))
        return (" ".join(parts) + "\n").encode("utf-8", "backslashreplace")

    def _write_lines(self) -> None:
        closing = False
        while not closing:
            lines = []
            line = self._queue.get()
            while line is not None:
                lines.append(line)
                if len(lines) >= LOG_BATCH_LINES_MAX:
                    break
                try:
                    line = self._queue.get_nowait()
                except queue.Empty:
                    break
            closing = line is None
            dropped = self.dropped
            if dropped > self._reported_dropped:
                count = dropped - self._reported_dropped
                self._reported_dropped = dropped
                lines.append(self._line(Level.WARNING, "log.dropped", "the log could not keep up", {"count": count}))
            if self._reopen.is_set():
                self._reopen.clear()
                self._open_anew()
            if lines and not _write_all(self._fd, b"".join(lines)):
                self.write_errors += len(lines)

    def _open_anew(self) -> None:
        assert self._file is not None
        try:
            fd = _open(self._file)
        except OSError:  # the old file still takes lines
            self.write_errors += 1
            return
        os.close(self._fd)
        self._fd = fd


_FLOOD: Final = "many keys"


class LogHandler(logging.Handler):
    """Lines of libraries that use the standard logging module, as event "library"."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log: Final = log

    def emit(self, record: logging.LogRecord) -> None:
        level = max((known for known in Level if known <= record.levelno), default=Level.DEBUG)
        fields: dict[str, object] = {"logger": record.name}
        if record.exc_info and record.exc_info[1] is not None:
            trace = "".join(traceback.format_exception(record.exc_info[1]))
            fields["traceback"] = trace[-LOG_VALUE_CHARACTERS_MAX:]
        self._log.write(level, "library", record.getMessage(), None, fields)


def _open(path: str | os.PathLike[str]) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)


def _write_all(fd: int, octets: bytes) -> bool:
    """Everything, also to a descriptor that somebody made non-blocking; False when the destination refuses it."""
    view = memoryview(octets)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            select.select((), (fd,), ())
        except OSError:
            return False
    return True


def _plain(value: object) -> object:
    """A value that JSON has: octets as text where they are printable, else as hex; secrets as ***; long text cut."""
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else str(value)  # JSON readers stop at 64 bits
    if isinstance(value, Redacted):
        return "***"
    if isinstance(value, str):
        return _clip(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _clip(show_circuit(bytes(value)))
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(part) for part in value]
    if isinstance(value, dict):
        return {str(name): "***" if name in SECRET_FIELDS else _plain(part) for name, part in value.items()}
    return _clip(str(value))


def _clip(text: str) -> str:
    # A lone surrogate is no Unicode text: UTF-8 has no octets for it.
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= LOG_VALUE_CHARACTERS_MAX else f"{text[:LOG_VALUE_CHARACTERS_MAX]}…"


def _printable(text: str) -> str:
    """Control characters escaped: no value can begin a line of its own or move a terminal's cursor."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _quoted(text: str) -> str:
    """As it is where it is one plain word, else in quotes."""
    if text and text.isprintable() and not any(c in ' "=' for c in text):
        return text
    return '"' + _printable(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'
