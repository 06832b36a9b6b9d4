"""Telling people: which alarms are worth a message, and the ways by which one goes out."""
