"""The data plane: requests come in at one address and are balanced over replicas."""
