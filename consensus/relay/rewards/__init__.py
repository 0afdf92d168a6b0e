"""Rewards and fees: what is issued, who took part, how it is shared out and claimed (DESIGN.md section 8)."""
