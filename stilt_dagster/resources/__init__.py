"""What assets reach the outside through: the store, the meteorology archive, the transport engine."""

from stilt_dagster.resources.meteorology_archive import MeteorologyArchive
from stilt_dagster.resources.store import Store, StoreResource
from stilt_dagster.resources.transport_engine import TransportEngine

__all__ = ["MeteorologyArchive", "Store", "StoreResource", "TransportEngine"]
