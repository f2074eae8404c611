-- What became of an answer, as its bytes pass: whether it is whole, when its first and last came, and how many tokens
-- it took. Nothing of it is kept but the end of a piece, as a sign may be cut in two.
local cjson = require "cjson.safe"
local keys = require "keys"
local stream = require "stream"
local usage = require "usage"

local answer = {}
local OVERLAP, STREAM = 64, "text/event-stream"
local CAN_BREAK = { chat = true, completions = true, responses = true }

-- In the header filter.
function answer.head()
  local seen = ngx.ctx.answer
  if not seen then return end
  local kind = ngx.header["Content-Type"]
  local answered = ngx.status == 200
  seen.looked_at = answered and CAN_BREAK[seen.kind]
  seen.streams = seen.looked_at and type(kind) == "string" and kind:find(STREAM, 1, true) == 1
  seen.finished = not seen.looked_at or seen.kind == "responses" and not seen.streams
  if seen.streams then
    seen.chunks = 0
    if seen.withholds then ngx.header["Content-Length"] = nil end
  elseif answered then
    seen.reader = usage.reader(seen.kind, false)
  end
end

-- A piece of an answer that is one JSON object.
local function look(seen, piece)
  seen.reader:feed(piece)
  if not seen.looked_at or seen.kind == "responses" then return end
  local text = seen.tail and seen.tail .. piece or piece
  local finished, aborted = stream.finish(text)
  seen.finished, seen.failed = seen.finished or finished, seen.failed or aborted
  seen.tail = text:sub(-OVERLAP)
end

-- In the body filter. nginx sends an empty piece when the server's side broke; but the first piece, which goes with the
-- head, may be empty, too.
function answer.body()
  local seen = ngx.ctx.answer
  if not seen then return end
  local piece, is_end = ngx.arg[1], ngx.arg[2]
  if seen.copy then seen.copy.answer:add(piece) end
  if seen.scored then seen.scored.answer:add(piece) end
  seen.pieces = (seen.pieces or 0) + 1
  seen.cut = piece == "" and not is_end and seen.pieces > 1
  seen.whole = is_end
  seen.now = ngx.now()
  if seen.streams then
    local passed = stream.pass(seen, piece, is_end or seen.cut)
    if passed ~= piece then ngx.arg[1] = passed end
  elseif piece ~= "" then
    seen.last = seen.now
    seen.first = seen.first or seen.last
    if seen.reader then look(seen, piece) end
  end
end

-- `complete`, of status 200 alone; `broken` where the server's side or the router's failed after it had begun, `left`
-- where the client's did; `error` where the status says what it was.
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

-- It is over: what became of it is put together. A stream whose server did not count tokens is counted by its chunks.
function answer.finish()
  local seen, answered = ngx.ctx.answer, ngx.status == 200
  if seen.reader then seen.reader:tell(seen) end
  if seen.streams and not seen.counted then seen.completion_tokens, seen.counted = seen.chunks, "chunks" end
  seen.outcome, seen.at = outcome(seen), ngx.req.start_time()
  seen.to_first, seen.to_last = since(seen.at, answered and seen.first), since(seen.at, answered and seen.last)
end

-- What is recorded of it, in one line; the user as a hash only.
function answer.line()
  local seen, experiment = ngx.ctx.answer, ngx.ctx.answer.experiment
  local user = seen.user
  return cjson.encode({
    exposure = seen.exposure,
    completion = seen.completion,
    kind = seen.kind,
    model = seen.model,
    version = seen.version,
    experiment = experiment and experiment.uid,
    epoch = experiment and experiment.epoch,
    variant = seen.variant,
    tester = seen.tester,
    user = user and keys.hashed(user),
    at = seen.at,
    status = ngx.status,
    outcome = seen.outcome,
    fallback = seen.fallback,
    endpoint = seen.endpoint,
    first = seen.to_first,
    last = seen.to_last,
    stream = seen.streams or nil,
    promptTokens = seen.prompt_tokens,
    completionTokens = seen.completion_tokens,
    counted = seen.counted,
  })
end

return answer
