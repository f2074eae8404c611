-- A service of the namespace to which some paths go on, at the address that a file holds: no name server is needed, and
-- the file follows when the address changes.
local balancer = require "ngx.balancer"
local followed = require "followed"

local service = {}
service.__index = service
local PERIOD = 1

-- One whose address is not known yet; `name` is for the log.
function service.new(name)
  return setmetatable({ name = name }, service)
end

-- Learn the address, `host` and `port`, and each one that takes its place.
function service:follow(path)
  followed.start(path, PERIOD, function(text)
    local host, port = text:match("^[^\n]*"):match("^(.+):(%d+)$")
    if host then self.host, self.port = host, tonumber(port) end
  end)
end

-- Where nginx picks who is asked.
function service:balance()
  local done, problem = balancer.set_current_peer(self.host, self.port)
  if not done then ngx.log(ngx.ERR, "no connection to ", self.name, ": ", problem) end
end

return service
