"""What directory hears: its own log, for its own read model. Nothing foreign concerns it."""

from okr_eventstore.runner import Subscription

from okr_directory.read_model import structure

subscriptions = [Subscription("directory.structure", to="directory", projection=structure)]
