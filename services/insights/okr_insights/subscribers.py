"""What insights hears: the four services whose facts it shows, each into tables of its own."""

from okr_eventstore.runner import Subscription
from okr_insights.read_model import projections

subscriptions = [
    Subscription(projection.name, to=projection.source, projection=projection) for projection in projections
]
