"""What alignment hears: its own log for the tree, goals to know which objectives lie in which cycle."""

from okr_alignment import read_model
from okr_eventstore.runner import Subscription

subscriptions = [
    Subscription("alignment.tree", to="alignment", projection=read_model.tree),
    Subscription("alignment.goals", to="goals", projection=read_model.goals),
]
