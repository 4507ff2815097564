"""``stilt-dagster scene``: all that is done to scenes, put together of its modules."""

from stilt_dagster.cli.scenes import plan, results, work
from stilt_dagster.cli.scenes.scene import app

plan.add_to(app)
work.add_to(app)
results.add_to(app)

__all__ = ["app"]
