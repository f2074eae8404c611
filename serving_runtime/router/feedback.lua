-- What users say goes on to the recorder, at the address that a file holds: no name server is needed, and the file follows
-- when the address changes. Models answer whether the recorder does or not.
local balancer = require "ngx.balancer"
local errors = require "errors"
local followed = require "followed"

local feedback = {}
local PERIOD, RETRY_AFTER = 1, 5
local host, port

local function apply(text)
  local found, at = text:match("^[^\n]*"):match("^(.+):(%d+)$")
  if found then host, port = found, tonumber(at) end
end

function feedback.start(path)
  followed.start(path, PERIOD, apply)
end

function feedback.away()
  ngx.header["Retry-After"] = RETRY_AFTER
  return errors.refuse(503, "the recorder takes nothing now; send this again, it counts once")
end

function feedback.refuse_size()
  return errors.refuse(413, "feedback takes at most 64 KiB; send less")
end

function feedback.route()
  if ngx.req.get_method() ~= "POST" then
    ngx.header["Allow"] = "POST"
    return errors.refuse(405, "use POST")
  end
  if not host then return feedback.away() end
  ngx.req.read_body()
  return ngx.exec("@recorder")
end

function feedback.balance()
  local done, problem = balancer.set_current_peer(host, port)
  if not done then ngx.log(ngx.ERR, "no connection to the recorder: ", problem) end
end

return feedback
