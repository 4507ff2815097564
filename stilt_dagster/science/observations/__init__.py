"""Observations: soundings of a retrieval, which of them are simulated, their column operator and background."""
