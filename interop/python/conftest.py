"""Loads the fixtures that all client folders share."""

pytest_plugins = ["broker_fixtures"]
