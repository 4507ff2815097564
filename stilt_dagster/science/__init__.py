"""The science, free of Dagster: scenes and receptors in, meteorology, particles, footprints and jacobians out.

Imports run downwards only::

    concatenate  rstilt                                     made of finished scenes
    jacobian
    footprints
    trajectories                                            the three products: their making, and their files
    batches  meteorology  pictures                          units of work; a scene's meteorology; maps
    scene                                                   the spec
    hysplit  arl  domain  receptor_files                    the engines (pystilt, arlmet), one module each; what is read
    particles  receptors  gridding  grid  scratch
    errors
"""
