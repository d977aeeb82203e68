"""What people and tests run beside the platform. Nothing here is part of the distribution."""
