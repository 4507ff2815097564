"""For OpenGHG and openghg_inversions: rows as a file of footprints in OpenGHG's PARIS format, and their observations.

OpenGHG 0.19 reads the file with ``standardise_footprint(source_format="paris")``; openghg_inversions 0.7 takes it from
OpenGHG's object store, or as a ``FootprintData``. Its conventions, and what they are here:

``srr`` (``fp``)
    ``(time, latitude, longitude)``, (mol mol-1) / (mol m-2 s-1): the number that ppm / (umol m-2 s-1) has. Summed over
    all hours: OpenGHG multiplies it with the flux at the time of the observation.
``srr_time_resolved``, ``srr_residual`` (``fp_time_resolved``, ``fp_residual``; ``resolution`` is ``H_back``)
    By hours back, as OpenGHG uses it for CO2: hour k is the flux of the k-th full hour of UTC before that of the
    observation, hour 0 that hour itself. What is older than 24 hours is the residual, which OpenGHG multiplies with
    monthly fluxes.
``time``
    Unique and ascending, as OpenGHG asks: observations of one time are a millisecond apart, in the order of the rows.
    In a time resolved file it is the start of the hour, since OpenGHG counts hours back from it.
``particle_locations_n``, ``_e``, ``_s``, ``_w``
    Share of the particles that came in by each cell of the domain's sides, of those that came in by one, as NAME's
    (``particle_locations`` of ACRG's process.py: normalised to 1 over the four); times what the particles of a column
    stand for of it.
"""
