"""The router beside bare nginx, nginx with the least Lua, and other routers."""
