"""The native engine: STILT's transport as compiled loops over particles, with meteorology in memory."""
