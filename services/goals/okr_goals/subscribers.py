"""What goals hears: its own log, who there is in directory, where key results stand, who serves whom."""

from okr_eventstore.runner import Subscription
from okr_goals import replica
from okr_goals.importing.carrier import Carrier
from okr_goals.lifecycle.steward import Steward
from okr_goals.read_model import plans

IMPORT_TURN_SECONDS = 1.0
"""How long one organisation's import of thousands of rows may go on before others have their turn."""


def subscriptions(carrier: Carrier, steward: Steward) -> list[Subscription]:
    return [
        Subscription("goals.plans", to="goals", projection=plans),
        Subscription("goals.directory", to="directory", projection=replica.directory),
        Subscription("goals.check_ins", to="checkins", projection=replica.check_ins),
        Subscription("goals.alignment", to="alignment", projection=replica.alignments),
        Subscription("goals.cycles", to="goals", react=steward.react),
        Subscription("goals.imports", to="goals", react=carrier.react, seconds_a_turn=IMPORT_TURN_SECONDS),
    ]
