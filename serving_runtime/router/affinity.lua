-- What a pod may remember of a request: its text up to the end of the first message of the user. Later turns of a
-- conversation begin alike, so they go where that is remembered; what comes before that message, many have in common.
local bit = require "bit"

local affinity = {}
local SPAN = 1024

local function excerpt(first, stop)
  local text, short = ngx.req.get_body_data(), stop - first <= 2 * SPAN
  if text then
    if short then return text:sub(first + 1, stop) end
    return text:sub(first + 1, first + SPAN) .. text:sub(stop - SPAN + 1, stop)
  end
  local file = assert(io.open(ngx.req.get_body_file(), "rb"))
  file:seek("set", first)
  local read = file:read(short and stop - first or SPAN)
  if not short then
    file:seek("set", stop - SPAN)
    read = read .. file:read(SPAN)
  end
  file:close()
  return read
end

-- A hash of it and of the model; of a long text, of its beginning and its end. `value` is where in the body it stands.
function affinity.hash(value, model)
  return bit.bxor(ngx.crc32_long(excerpt(value.first, value.turn or value.last)), ngx.crc32_short(model))
end

return affinity
