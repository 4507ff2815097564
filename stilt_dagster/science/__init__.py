"""The science, free of Dagster: scenes and receptors in, meteorology, particles, footprints and jacobians out.

Imports run downwards only::

    report
    formats                             what every file of the store holds
    costs
    jacobian
    footprints
    observations
    transport
    meteorology
    scenes
    batches  outcomes  part_pool  ...   what all of these share
    errors
"""
