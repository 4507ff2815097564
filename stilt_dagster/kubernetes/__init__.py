"""Runs as pods of a Kubernetes cluster: how large each is, one pod an asset, and how many cores are in use at once.

A Dagster instance loads these classes by name from its ``dagster.yaml``; nothing else in the package knows of them.
"""
