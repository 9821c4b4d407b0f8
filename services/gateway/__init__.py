"""The gateway: HTTP for those who do not speak gRPC. Health and metrics in this version."""
