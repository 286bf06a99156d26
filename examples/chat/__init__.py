"""A chat agent: its answers come token by token, its tools are durable steps, and its engine may be killed in the middle."""
