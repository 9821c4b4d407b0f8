"""Measurements, each beside a peer in the same run: `sapience bench NAME`, by `services.cli.measuring`."""
