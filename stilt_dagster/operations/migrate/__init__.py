"""Bringing a store and a Dagster instance of an earlier version to how this one keeps them."""
