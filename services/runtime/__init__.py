"""What every service is made of: settings, one server builder, one client builder, interceptors, errors, telemetry."""
