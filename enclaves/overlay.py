"""One guest's view of one tree during one call: reads are kept, writes wait (DESIGN.md section 7)."""

from collections.abc import Sequence

from consensus.primitives.guest import ReadState


class Overlay:
    """Asks `read` once a key; a guest sees its own writes; nothing leaves before the call ends."""

    __slots__ = ("_cache", "_read", "_writes", "written_bytes")

    def __init__(self, read: ReadState) -> None:
        self._read = read
        self._cache: dict[bytes, bytes | None] = {}
        self._writes: dict[bytes, bytes | None] = {}
        self.written_bytes = 0  # keys and values that `writes` would yield

    @property
    def written_keys(self) -> int:
        """How many distinct keys were written."""
        return len(self._writes)

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Values in the order of `keys`; unknown ones are fetched at once. Raises what `read` raises."""
        writes, cache = self._writes, self._cache
        missing = [key for key in dict.fromkeys(keys) if key not in writes and key not in cache]
        if missing:
            cache.update(zip(missing, self._read(missing), strict=True))
        return [writes[key] if key in writes else cache[key] for key in keys]

    def write(self, key: bytes, value: bytes | None) -> None:
        """Set a value, or delete the key with None."""
        if key in self._writes:
            self.written_bytes -= _size(key, self._writes[key])
        self.written_bytes += _size(key, value)
        self._writes[key] = value

    def writes(self) -> tuple[tuple[bytes, bytes | None], ...]:
        """What the call changes: one entry a key, sorted by key."""
        return tuple(sorted(self._writes.items(), key=_key_of))


def _size(key: bytes, value: bytes | None) -> int:
    return len(key) + (0 if value is None else len(value))


def _key_of(entry: tuple[bytes, bytes | None]) -> bytes:
    return entry[0]
