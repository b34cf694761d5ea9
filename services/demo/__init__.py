"""`kairos demo`: the year of a real shop flows through Kairos, and a summary says what came of it."""
