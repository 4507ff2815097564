"""The report of a scene: one HTML file that opens offline, made of its jacobian and what else the store still has."""
