"""Rewards and fees: what is issued, who took part, how it is shared out and claimed (DESIGN.md section 8).

    issuance       the curve: staking ratio → what a year issues, an epoch's part of it
    takerate       the treasury's part of an epoch's income, an operator's commission
    points         what each member earned of what there is to earn
    sharing        splitting units by weights, to the unit
    votes          the votes that a block carries
    participation  who voted and who proposed, counted block by block
    attesting      who attested candidates, and what chains pay for it
    distributing   the end of an epoch
    claims         having an operator's commission
    holding        payment in a chain's own asset
    records        the leaves
    transactions   what accounts may ask for
    economy        all of it at a glance

The first four are functions of plain numbers and know no state.
"""
