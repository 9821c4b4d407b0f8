"""The command line. Every command is a client; the first one starts the local daemon."""
