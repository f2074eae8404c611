-- What users say goes on to the recorder. Models answer whether the recorder does or not.
local errors = require "errors"
local service = require "service"

local feedback = {}
local RETRY_AFTER = 5
local recorder = service.new "the recorder"

function feedback.start(path)
  recorder:follow(path)
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
  if not recorder.host then return feedback.away() end
  ngx.req.read_body()
  return ngx.exec("@recorder")
end

function feedback.balance()
  recorder:balance()
end

return feedback
