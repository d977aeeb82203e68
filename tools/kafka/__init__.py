"""A real Apache Kafka without containers: its jars by Maven, one broker in a Java virtual machine of its own."""
