"""Which addresses a validator may have in the ledger: none, or IP:PORT that anybody can dial without asking.

Names are not resolved from the chain (docs/decisions/024), so none are written into it. The rules are spelt
out here, and every node's are the same: libraries differ from version to version in what they call an
address.
"""

import re
from typing import Final

_IPV4: Final = re.compile(r"(0|[1-9][0-9]{0,2})(\.(0|[1-9][0-9]{0,2})){3}")
_GROUP: Final = re.compile(r"[0-9a-fA-F]{1,4}")
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")


def is_dialable(address: str) -> bool:
    """Whether an address is empty, A.B.C.D:PORT, or [IPv6]:PORT, the latter without scope or dotted part."""
    if not address:
        return True
    host, _, port = address.rpartition(":")
    if _PORT.fullmatch(port) is None or int(port) > 65_535:
        return False
    if host.startswith("[") and host.endswith("]"):
        return _is_ipv6(host[1:-1])
    return _IPV4.fullmatch(host) is not None and all(int(each) < 256 for each in host.split("."))


def _is_ipv6(host: str) -> bool:
    halves = host.split("::")
    groups = [each for half in halves for each in (half.split(":") if half else ())]
    whole = len(groups) == 8 if len(halves) == 1 else len(halves) == 2 and len(groups) < 8
    return whole and all(_GROUP.fullmatch(each) for each in groups)
