"""Experiments outside the stream: results of a file, power calculator, simulation."""
