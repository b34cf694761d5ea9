"""The nerves: the Faust app, the micro-batch transport and the roles decide, learn and deliver."""
