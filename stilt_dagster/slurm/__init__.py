"""Scenes as array jobs of a Slurm cluster: what a site sets, what a job is made of, and Slurm's own commands.

The array's tasks share the store's file system, and nothing else: no database, no server, no locks.
"""
