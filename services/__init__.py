"""The processes: thin gRPC shells around perception, memory and cognition, and the command line."""

import os

# Said before numpy is loaded, which reads it once. The products here are small, and OpenBLAS shares each among all
# processors, whose threads then wait for one another by spinning: on two busy cores that took ten times the product's
# own time, from whatever else the process had to do.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
