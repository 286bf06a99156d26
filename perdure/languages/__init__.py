"""Ways to write a program. Each knows the kernel and nothing above it."""
