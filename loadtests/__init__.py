"""Load tests of the gateway for Locust: users, load shapes, measurement and report. README.md says how to run them."""
