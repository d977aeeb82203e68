"""Everything about Kafka: where a service's events lie in it, how they get there, and how they are heard."""
