"""Learning on the device, without torch: what good parts' features have in common."""
