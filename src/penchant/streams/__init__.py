"""Events from Redis Streams and Kafka-compatible brokers into a service's store, each once."""
