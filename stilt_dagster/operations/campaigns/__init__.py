"""Campaigns, scenes that belong together: which they are, how far they are, running what of them is not done."""
