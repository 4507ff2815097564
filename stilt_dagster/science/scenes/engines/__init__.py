"""What a scene may ask of an engine other than hycs_std."""
