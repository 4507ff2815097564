"""From retrievals to registered scenes: sources, granules, and scans of where they land."""
