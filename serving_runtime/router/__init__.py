"""The data plane: nginx with a little Lua picks the variant, an agent beside it brings the route table."""
