"""What those who run the platform look at: metrics, health, and the side door for both."""
