"""The commands of `okr`, by topic. Each module declares its own on the app it is given."""
