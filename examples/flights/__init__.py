"""A year of flights out of New York, as events: ``make demo-flights``."""
