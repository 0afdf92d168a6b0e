"""docs/guest-abi.md is the contract: its examples run and its numbers are those of the code."""

import re
from pathlib import Path

from guest_tools import call_of, run, wat

from consensus.primitives import guest
from enclaves import abi
from enclaves.limits import DEFAULT_LIMITS
from enclaves.stack_meter import STACK_SLOTS

TEXT = (Path(__file__).parents[2] / "docs" / "guest-abi.md").read_text()


def test_the_minimal_guest_counts() -> None:
    found = re.search(r"```wat\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    code = wat(found.group(1))
    first = run(call_of(code))
    assert first.output == (1).to_bytes(4, "little"), first.reason
    assert run(call_of(code), {b"n": (41).to_bytes(4, "little")}).output == (42).to_bytes(4, "little")


def test_every_function_and_price_is_in_the_document() -> None:
    for name in abi.SIGNATURES:
        assert f"**`{name}(" in TEXT
    for row in [
        f"| any host function | {abi.PRICE_CALL:,} |",
        f"| byte that crosses, either way | {abi.PRICE_BYTE} |",
        f"| `state_get`, a key | {abi.PRICE_READ:,} |",
        f"| `state_set`, an entry | {abi.PRICE_WRITE:,}, and {abi.PRICE_WRITE_BYTE} a byte of the batch |",
        f"| `send`, a message | {abi.PRICE_MESSAGE:,} |",
        f"| `emit`, an event | {abi.PRICE_EVENT:,} |",
        f"| `blake3`, an item | {abi.PRICE_HASH + 32 * abi.PRICE_BYTE:,} |",
        f"| `ed25519_verify`, an item | {abi.PRICE_VERIFY + abi.PRICE_BYTE:,} |",
        f"| key / value | {guest.MAX_KEY_BYTES} B / {guest.MAX_VALUE_BYTES // 1024} KiB |",
        f"| output | {guest.MAX_OUTPUT_BYTES // 1024} KiB |",
        f"| message / messages of a call | {guest.MAX_MESSAGE_BYTES // 1024} KiB / {guest.MAX_MESSAGES} |",
        f"| event / events of a call | {guest.MAX_EVENT_BYTES // 1024} KiB / {guest.MAX_EVENTS:,} |",
        f"{abi.MAX_BATCH_BYTES >> 20} MiB / {abi.MAX_BATCH_ITEMS:,} / {abi.MAX_BATCH_BYTES >> 20} MiB",
        f"{abi.MAX_WRITES:,} / {abi.MAX_WRITE_BYTES >> 20} MiB",
        f"| module | {DEFAULT_LIMITS.module_bytes >> 20} MiB |",
        f"| memory | {DEFAULT_LIMITS.memory_pages} pages",
        f"{STACK_SLOTS:,} slots at once",
    ]:
        assert row in TEXT, row
