"""Container engines driven from outside, with a yardstick and with fragment-runc. Start reading at harness.py."""
