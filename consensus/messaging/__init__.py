"""Messages between chains and enclave instances: lanes in the relay state."""
