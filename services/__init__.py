"""The processes: thin gRPC shells around perception, memory and cognition, and the command line."""
