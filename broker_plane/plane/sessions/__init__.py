"""Running sessions: requests of participants are checked, stored in the log as groups, and then broadcast."""
