"""What reaches the outside: the store, the meteorology archive, granules, the transport engine."""
