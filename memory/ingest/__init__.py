"""What an Episode says, read with no language model: dates, names, and Facts. Pure; `extract` puts it together.

The rules are for English. What they cannot read they leave alone: an Episode in another language, or one that no rule
fits, is still found by its words and its vector.
"""
