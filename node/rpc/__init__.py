"""The node's one HTTP port: JSON-RPC 2.0, subscriptions, metrics, health (DESIGN.md section 9).

Reading order: `json_form` (values to JSON and back), `jsonrpc` (the protocol, no HTTP in it), `methods` (the
table of what can be asked), `subscriptions`, `server` (routes, limits, hypercorn on trio).
"""
