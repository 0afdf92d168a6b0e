"""Consumer chains' candidates, from a collator's plan to a leader's inclusion (DESIGN.md section 6).

receipts                wire types
lifecycle, view         the stages, the rules of a header, what must be known of the relay state
collation               a collator plans, finishes and pipelines
execution               what re-executing takes, and what it proves
backing                 a validator's machine; its inputs and effects, and its memory, beside it
"""
