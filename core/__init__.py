"""The leaf that every package may import: nouns, ports, errors, time and ids. It imports nothing of ours."""
