"""Good practice: what it says of objectives, and templates to begin with."""
