"""How thinking in latent space is learned: tasks, the curriculum, the trainer, and the reference it is held to.

Importing this package imports no torch; its modules that compute import it themselves.
"""
