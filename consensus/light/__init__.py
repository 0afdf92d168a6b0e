"""The light client: what is final and what the state holds, from a trusted point and a bundle alone.

CONSENSUS.md section 16. Verifying imports primitives and the data and rules of certificates and evidence,
nothing else, so that a bridge, a wallet or an auditor can carry this package without a node.

    leaves     the leaves of the relay state in which other trees' roots are
    proofs     the bundle and its parts, as wire types
    answers    what one key of the relay chain, a consumer chain, an enclave or a block's receipts maps to
    forks      whether two final blocks can be on one chain
    client     from a trusted block to a final one by epoch hops

    slashing_proof   that a validator broke the rules, under the root of a validator set alone
"""
