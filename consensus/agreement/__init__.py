"""Agreement: a stake-weighted Simplex with a concurrent one-round fast path (docs/consensus.md).

`engine` is the protocol and its docstring says it whole. A way to read on: `thresholds`, `validators` and
`messages` for what things are; `certificates` and `tally` for when they count; `voting` and `proposing` for
what a node says, `signing_rules` for what it may say; `certifying`, `judging` and `finality` for what
follows; `epochs` for one engine after the other; `signed`, `watch`, `evidence` and `blame` for who broke the
rules; `pacemaker`, `pulling`, `recovery`, `restart` and `amnesia` for when things go wrong.
"""
