"""Room of stake (DESIGN.md section 8): validators, nominations, pools, and what accounts may do with them.

records        the leaves, and where they are in the relay tree
pools          one pool of stake: joining, leaving, cutting, paying; pure arithmetic
stakes         `Stakes`, the leaves in a ledger; what elections, offences and rewards call
leaving        how long stake answers, and the queue that it leaves by
transactions   what accounts may ask for
actions        doing it
"""
