"""A matrix in the forms inversion codes take it in: fips, OpenGHG, the Integrated Methane Inversion, PYSTILT."""
