"""How far the native engine is from hycs_std: value by value, footprint by footprint, in CPU, memory and threads."""
