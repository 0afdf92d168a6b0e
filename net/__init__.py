"""Authenticated, encrypted, prioritised byte frames between peers; knows nothing of what the bytes mean.

Reading order: `identity`, `lanes`, `noise` and `handshake` (pure), `frames` (pure), `peer` (one connection),
`transport` (all of them), `gossip` (flood on top).
"""
