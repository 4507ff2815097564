"""How much of a source a scene keeps: the crop of its grid, where air can come from, the levels it needs."""
