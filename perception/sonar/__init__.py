"""SONAR (Duquenne et al. 2023, arXiv 2308.11466): one space of sentences for 200 languages, text and speech.

Twice: `pipelines` runs it by its own library, sonar-space, in the environment that this folder's pyproject.toml and
uv.lock name, since that library's pins clash with the rest; `perception.encoders.sonar` and `perception.decoders.sonar`
run the same weights by transformers. `converting` brings the official checkpoints from one form to the other,
`vocabulary` is what both ways read and write, `catalogue` says what there is and under which licence.

Importing this package imports none of these libraries.
"""
