"""Concept models: they read the vectors of sentences and foresee the vector of the next one.

After the Large Concept Model (arXiv 2412.08821) and SONAR-LLM (arXiv 2508.05305). Importing this package imports no
torch; loading or training a model does.
"""

END_OF_TEXT = "End of text."
"""The sentence that ends every document; a Concept near its vector ends a text."""
