-- What became of an answer, as its bytes pass: whether it is whole, and when its first and last came. Nothing of it is
-- kept but the end of a piece, as a sign may be cut in two.
local cjson = require "cjson.safe"
local keys = require "keys"

local answer = {}
local LONGEST_SIGN = 64
local FINISHED, STREAM = '"finish_reason":', "text/event-stream"
-- Lines of a stream. What a model says is never taken for one: in a string of JSON, line breaks and quotes are escaped.
local ERRORS = { '\ndata: {"error"', '\ndata:{"error"', "\nevent: error", "\nevent:error" }
local RESPONSE_ERRORS = { "\nevent: response.failed", "\nevent:response.failed" }
local RESPONSE_ENDS = {
  "\nevent: response.completed", "\nevent:response.completed",
  "\nevent: response.incomplete", "\nevent:response.incomplete",
}

local function has_any(text, signs)
  for _, sign in ipairs(signs) do
    if text:find(sign, 1, true) then return true end
  end
  return false
end

-- Whether a `finish_reason` stands in the text, and whether it is `abort`.
local function finish(text)
  local finished, aborted, from = false, false, 1
  while true do
    local _, last = text:find(FINISHED, from, true)
    if not last then return finished, aborted end
    local reason = text:match('^%s*"([%w_]+)"', last + 1)
    finished, aborted, from = finished or reason ~= nil, aborted or reason == "abort", last + 1
  end
end

local function look(seen, text)
  if seen.streams then seen.failed = seen.failed or has_any(text, ERRORS) end
  if seen.kind == "responses" then
    seen.failed = seen.failed or has_any(text, RESPONSE_ERRORS)
    seen.finished = seen.finished or has_any(text, RESPONSE_ENDS)
    return
  end
  local finished, aborted = finish(text)
  seen.finished, seen.failed = seen.finished or finished, seen.failed or aborted
end

-- In the header filter.
function answer.head()
  local seen = ngx.ctx.answer
  if not seen then return end
  local kind = ngx.header["Content-Type"]
  seen.streams = type(kind) == "string" and kind:find(STREAM, 1, true) == 1
  seen.looked_at = ngx.status == 200 and (seen.kind == "chat" or seen.kind == "completions" or seen.kind == "responses")
  seen.finished = not seen.looked_at or seen.kind == "responses" and not seen.streams
end

-- In the body filter. nginx sends an empty piece when the server's side broke; but the first piece, which goes with the
-- head, may be empty, too.
function answer.body()
  local seen = ngx.ctx.answer
  if not seen then return end
  local piece, is_end = ngx.arg[1], ngx.arg[2]
  seen.pieces = (seen.pieces or 0) + 1
  seen.cut = piece == "" and not is_end and seen.pieces > 1
  seen.whole = is_end
  if piece == "" then return end
  seen.last = ngx.now()
  seen.first = seen.first or seen.last
  if not seen.looked_at then return end
  local text = (seen.rest or "\n") .. piece
  look(seen, text)
  seen.rest = text:byte(-1) ~= 10 and text:sub(-LONGEST_SIGN) or "\n"
end

-- `complete`, of status 200 alone; `broken` where the server's side or the router's failed after it had begun, `left` where the client's did;
-- `error` where the status says what it was.
local function outcome(seen)
  if ngx.status == 499 then return "left" end
  if ngx.status >= 400 then return "error" end
  if ngx.status ~= 200 or seen.failed or seen.cut then return "broken" end
  if not seen.whole then return ngx.worker.exiting() and "broken" or "left" end
  return seen.finished and "complete" or "broken"
end

local function since(start, time)
  return time and math.max(0, math.floor((time - start) * 1000 + 0.5) / 1000) or nil -- the clock may be set back
end

-- What is recorded of it, in one line; the user as a hash only.
function answer.line()
  local seen, experiment = ngx.ctx.answer, ngx.ctx.answer.experiment
  local start, user, answered = ngx.req.start_time(), seen.user, ngx.status == 200
  return cjson.encode({
    exposure = seen.exposure,
    kind = seen.kind,
    model = seen.model,
    version = seen.version,
    experiment = experiment and experiment.uid,
    variant = seen.variant,
    user = user and keys.hashed(user),
    at = start,
    status = ngx.status,
    outcome = outcome(seen),
    fallback = seen.fallback,
    endpoint = seen.endpoint,
    first = answered and since(start, seen.first) or nil,
    last = answered and since(start, seen.last) or nil,
  })
end

return answer
