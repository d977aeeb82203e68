"""Made-up organisations with a past: a pure generator of what they did, and players that let it happen."""
