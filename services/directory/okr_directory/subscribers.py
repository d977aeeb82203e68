"""What directory hears: its own log, for its own read model and to finish erasures. Nothing foreign concerns it."""

from okr_directory.erasure import Erasures
from okr_directory.read_model import structure
from okr_eventstore.runner import Subscription


def subscriptions(erasures: Erasures) -> list[Subscription]:
    return [
        Subscription("directory.structure", to="directory", projection=structure),
        Subscription("directory.erasures", to="directory", react=erasures.react),
    ]
