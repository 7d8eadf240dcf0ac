"""What was presented when: experiment, orders, events, time grid, lists, splits and leaks."""
