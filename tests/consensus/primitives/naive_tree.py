"""The same tree, written again from its definition in nodes.py: whole map in, every node out, no updates.

Shares no code with the implementation but `blake3` itself.
"""

from blake3 import blake3

EMPTY = bytes(33)


def naive_nodes(content: dict[bytes, bytes]) -> tuple[bytes, dict[bytes, bytes]]:
    """The root of a map and all nodes of its tree."""
    nodes: dict[bytes, bytes] = {}
    bits = {"".join(f"{byte:08b}" for byte in key): key for key in content}

    def put(kind: int, tag: bytes, hashed: bytes, node: bytes) -> bytes:
        digest = blake3(tag + b"\x00" + hashed).digest()
        nodes[digest] = node
        return bytes([kind]) + digest

    def subtree(prefix: str) -> bytes:
        below = [path for path in bits if path.startswith(prefix)]
        if not below:
            return EMPTY
        if len(below) == 1:
            key = bits[below[0]]
            value = content[key]
            hashed = b"\x01" + key + value
            if len(value) > 64:
                hashed = b"\x03" + key + blake3(b"TALLY/value/1\x00" + value).digest()
            return put(1, b"TALLY/leaf/1", hashed, b"\x01" + key + value)
        node = b"\x02" + subtree(prefix + "0") + subtree(prefix + "1")
        return put(2, b"TALLY/branch/1", node, node)

    return subtree("")[1:], nodes
