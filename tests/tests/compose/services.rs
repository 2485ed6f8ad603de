//! Supervised services: the small supervisor, and systemd where systemctl is asked for.
